// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Agents;

/// <summary>
/// 300 calls of a tool in a row, in one conversation. kimi-nano would not make so many by itself, and its context is too short: each
/// answer is held to be a call, and the configuration is given a longer context. The model chooses the reasoning and the numbers.
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

    /// <summary>Computing the last call's prompt from nothing would take as long as all calls together.</summary>
    private static readonly int[] s_sampled = [9, 99, Calls / 2];

    private static readonly GenerationOptions s_options = new()
    {
        Tools =
        [
            new KimiTool("calculator", "A calculator", """
                {"type": "object", "properties": {"expression": {"type": "string", "pattern": "^[1-9][0-9]? [+] [1-9][0-9]?$"}}, "required": ["expression"], "additionalProperties": false}
                """),
        ],
        ToolChoice = ToolChoice.Named("calculator"),
        MaxReasoningTokens = 4,
        Temperature = 1,
        Seed = 1,
        LogProbabilities = true,
        MaxTokens = 100,
    };

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
        int respelled = 0;
        int recomputed = 0;
        int answer = 0;
        for (int i = 0; i < Calls; i++)
        {
            GenerationResult result = session.Generate(messages, s_options);
            Assert.That(result.FinishReason, Is.EqualTo(FinishReason.ToolCalls));
            KimiToolCall call = result.ToolCalls.Single();
            Assert.That(call.Id, Is.EqualTo($"functions.calculator:{i}"));
            // Reasoning with half a character or a control token in it is shown as other tokens than were written.
            Assert.That(result.Usage.CachedTokens, Is.InRange(known - answer, known));
            recomputed += result.Usage.CachedTokens < known ? 1 : 0;
            answer = result.Usage.CompletionTokens;
            known = result.Usage.PromptTokens + result.Usage.CompletionTokens - 1;
            Assert.That(session.TokenCount, Is.EqualTo(known));
            prompts += result.Usage.PromptTokens;
            cached += result.Usage.CachedTokens;
            if (s_sampled.Contains(i))
            {
                sampled[i] = result;
            }

            respelled += model.Tokenizer.Encode(model.Tokenizer.Decode([.. result.Tokens]), allowSpecial: true).SequenceEqual(result.Tokens) ? 0 : 1;
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
        TestContext.Progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{(double)cached / prompts:P2} of the prompts' tokens were cached; {respelled} answers have other tokens than their texts encode to, {recomputed} were computed again; memory grew by {growth >> 10} KiB, the cache by {cacheGrowth >> 10} KiB"));
        Assert.That((double)cached / prompts, Is.GreaterThan(0.95));
        Assert.That(recomputed, Is.LessThan(Calls / 20));
        Assert.That(respelled, Is.GreaterThan(recomputed), "tokens of other spellings were found");
        Assert.That(growth, Is.LessThan(cacheGrowth + ScratchBytes));
        AssertSame(sampled, messages);
    }

    /// <summary>A model that computes sampled turns from nothing says the same, to the last bit of the tokens' probabilities.</summary>
    private void AssertSame(Dictionary<int, GenerationResult> sampled, List<KimiMessage> messages)
    {
        using KimiModel fresh = KimiModel.Open(_folder, new KimiModelOptions { PrefixCaching = false });
        foreach ((int call, GenerationResult result) in sampled)
        {
            GenerationResult expected = fresh.Generate(messages.Take(1 + (2 * call)), s_options);
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
}
