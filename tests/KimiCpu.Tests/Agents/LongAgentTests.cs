// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Agents;

/// <summary>
/// 300 calls of a tool in a row, in one conversation. kimi-nano would not make so many by itself and its context is too short, so
/// its configuration is given a longer one, and the form of the calls is scripted; the model computes every token and chooses the
/// reasoning and the numbers that the tool gets.
/// </summary>
[TestFixture]
internal sealed class LongAgentTests
{
    private const int Calls = 300;
    private const int ContextLength = 16384;

    /// <summary>By then everything is compiled and scratch memory has its size.</summary>
    private const int WarmCalls = 50;

    /// <summary>For what comes and goes: the runtime's, and a step's working memory.</summary>
    private const long ScratchBytes = 8 << 20;

    private static readonly int[] s_sampled = [9, 99, Calls - 1];

    private static readonly KimiTool s_calculator = new("calculator", "A calculator", """{"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}""");

    private string _folder = null!;

    [OneTimeSetUp]
    public void WriteCheckpoint()
    {
        _folder = Directory.CreateTempSubdirectory("kimi-long-").FullName;
        foreach (string file in Directory.GetFiles(Repository.NanoModel))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)));
        }

        string config = Path.Combine(_folder, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"max_position_embeddings\": 8192", $"\"max_position_embeddings\": {ContextLength}", StringComparison.Ordinal));
    }

    [OneTimeTearDown]
    public void DeleteCheckpoint() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Calls_in_a_row_hold_ids_cache_memory_and_speed()
    {
        using KimiModel model = KimiModel.Open(_folder, new KimiModelOptions { KvCacheBytes = 1 << 26 });
        using KimiSession session = model.CreateSession();
        List<KimiMessage> messages = [KimiMessage.User("Add many numbers.")];
        Dictionary<int, GenerationResult> sampled = [];
        long prompts = 0;
        long cached = 0;
        int known = 0;
        long memory = 0;
        int warm = 0;
        for (int i = 0; i < Calls; i++)
        {
            GenerationResult result = session.Generate(messages, Options(model.Tokenizer, i));
            Assert.That(result.FinishReason, Is.EqualTo(FinishReason.ToolCalls));
            KimiToolCall call = result.ToolCalls.Single();
            Assert.That(call.Id, Is.EqualTo($"functions.calculator:{i}"));
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(known), "all that earlier turns have computed");
            known = result.Usage.PromptTokens + result.Usage.CompletionTokens - 1;
            Assert.That(session.TokenCount, Is.EqualTo(known));
            prompts += result.Usage.PromptTokens;
            cached += result.Usage.CachedTokens;
            if (s_sampled.Contains(i))
            {
                sampled[i] = result;
            }

            if (i % 30 == 29)
            {
                Report(i + 1, result);
            }

            if (i == WarmCalls)
            {
                (memory, warm) = (AnonymousBytes(), known);
            }

            messages.Add(result.ToMessage());
            messages.Add(KimiMessage.Tool(call.Id, Calculate(call.Arguments)));
        }

        long growth = AnonymousBytes() - memory;
        long cacheGrowth = (long)(known - warm) * model.Info.CacheBytesPerToken;
        TestContext.Progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{(double)cached / prompts:P2} of the prompts' tokens were cached; memory grew by {growth >> 10} KiB, the cache by {cacheGrowth >> 10} KiB"));
        Assert.That((double)cached / prompts, Is.GreaterThan(0.95));
        Assert.That(growth, Is.LessThan(cacheGrowth + ScratchBytes));
        AssertSame(sampled, messages);
    }

    /// <summary>A model that computes sampled turns from nothing says the same, to the last bit of the tokens' probabilities.</summary>
    private void AssertSame(Dictionary<int, GenerationResult> sampled, List<KimiMessage> messages)
    {
        using KimiModel fresh = KimiModel.Open(_folder, new KimiModelOptions { PrefixCaching = false });
        foreach ((int call, GenerationResult result) in sampled)
        {
            GenerationResult expected = fresh.Generate(messages.Take(1 + (2 * call)), Options(fresh.Tokenizer, call));
            Assert.That(expected.Usage.CachedTokens, Is.Zero);
            Assert.That(result.Tokens, Is.EqualTo(expected.Tokens), $"call {call}");
            Assert.That(result.LogProbabilities.Select(p => p.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(p => p.LogProbability)), $"call {call}");
        }
    }

    private static void Report(int calls, GenerationResult result)
    {
        GenerationTimings timings = result.Timings;
        TestContext.Progress.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{calls} calls: prompt {result.Usage.PromptTokens}, computed {result.Usage.PromptTokens - result.Usage.CachedTokens}, prefill {timings.Prefill.TotalMilliseconds:F0} ms, decode {1000 / timings.DecodeTokensPerSecond:F2} ms/token, {AnonymousBytes() >> 20} MiB"));
    }

    /// <summary>Memory of the process itself, managed and native, without mapped files.</summary>
    private static long AnonymousBytes()
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        string? line = OperatingSystem.IsLinux() ? File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith("RssAnon:", StringComparison.Ordinal)) : null;
        return line is null ? Process.GetCurrentProcess().PrivateMemorySize64 : long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }

    private static string Calculate(string arguments)
    {
        using JsonDocument json = JsonDocument.Parse(arguments);
        string[] terms = json.RootElement.GetProperty("expression").GetString()!.Split(" + ");
        return terms.Sum(t => int.Parse(t, CultureInfo.InvariantCulture)).ToString(CultureInfo.InvariantCulture);
    }

    private static GenerationOptions Options(KimiTokenizer tokenizer, int call) => new()
    {
        Tools = [s_calculator],
        Temperature = 0,
        LogProbabilities = true,
        MaxTokens = 60,
        LogitBias = new ScriptedChoices(Script(tokenizer, call)),
    };

    /// <summary>Three tokens of reasoning and a call, with two numbers of a digit each.</summary>
    private static List<int[]> Script(KimiTokenizer tokenizer, int call)
    {
        List<int[]> places = [];
        int[] digits = [.. Enumerable.Range(0, 10).Select(d => tokenizer.Encode($"{d}").Single())];
        int[] letters = [.. Enumerable.Range(0, tokenizer.VocabularySize).Where(t => !tokenizer.IsSpecial(t) && tokenizer.Decode([t]).All(char.IsAsciiLetter))];
        places.AddRange([letters, letters, letters]);
        Marker("</think>");
        Marker("<|tool_calls_section_begin|>");
        Marker("<|tool_call_begin|>");
        Text($"functions.calculator:{call}");
        Marker("<|tool_call_argument_begin|>");
        Text("{\"expression\": \"", singly: call % 4 == 0);
        places.Add(digits);
        Text(" + ");
        places.Add(digits);
        Text("\"}");
        Marker("<|tool_call_end|>");
        Marker("<|tool_calls_section_end|>");
        Marker("<|im_end|>");
        return places;

        void Marker(string name) => places.Add([tokenizer.SpecialTokenIds[name]]);

        // Models do not always cut a text as the tokenizer does.
        void Text(string text, bool singly = false) =>
            places.AddRange((singly ? text.SelectMany(c => tokenizer.Encode($"{c}")) : tokenizer.Encode(text)).Select(t => new[] { t }));
    }
}
