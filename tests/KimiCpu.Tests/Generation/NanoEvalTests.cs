// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>
/// Template, tokenizer, model and stop tokens together: the greedy outputs of the embedded model by an independent numpy
/// implementation, over the embedded resources and the files alike. Prompts with tools are left to the feature that renders
/// them.
/// </summary>
[TestFixture]
internal sealed class NanoEvalTests
{
    private sealed record EvalPrompt(KimiMessage[] Messages, bool Thinking, string Output);

    [Test]
    public void Exact_outputs_equal_the_reference()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Exact = true });
        (int equal, List<string> different) = Run(model);
        Assert.That(different, Is.Empty);
        Assert.That(equal, Is.GreaterThan(300));
    }

    /// <summary>Rounded activations part at near-ties only.</summary>
    [Test]
    public void Fast_outputs_hardly_differ()
    {
        using KimiModel model = KimiModel.Open(Repository.NanoModel);
        (int equal, List<string> different) = Run(model);
        TestContext.Out.WriteLine($"{equal} equal, {different.Count} different");
        Assert.That(different, Has.Count.LessThanOrEqualTo(equal / 10));
    }

    private static (int Equal, List<string> Different) Run(KimiModel model)
    {
        EvalPrompt[] prompts = [.. Load()];
        var outputs = new string[prompts.Length];
        Parallel.For(0, prompts.Length, new ParallelOptions { MaxDegreeOfParallelism = 16 }, i =>
        {
            EvalPrompt prompt = prompts[i];
            GenerationResult result = model.Generate(prompt.Messages, new GenerationOptions { Temperature = 0, Thinking = prompt.Thinking, MaxTokens = 400 });
            IEnumerable<int> shown = result.FinishReason == FinishReason.Stop ? result.Tokens.SkipLast(1) : result.Tokens;
            outputs[i] = model.Tokenizer.Decode([.. shown]);
        });
        List<string> different = [.. prompts.Zip(outputs).Where(p => p.First.Output != p.Second).Select(p => $"expected '{p.First.Output}', found '{p.Second}'")];
        return (prompts.Length - different.Count, different);
    }

    private static IEnumerable<EvalPrompt> Load()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.Fixture("kimi-nano-eval.json")));
        foreach (JsonElement item in document.RootElement.GetProperty("prompts").EnumerateArray())
        {
            bool plain = item.GetProperty("tools").ValueKind == JsonValueKind.Null
                && item.GetProperty("messages").EnumerateArray().All(m => m.GetProperty("role").GetString() != "tool" && !m.TryGetProperty("tool_calls", out _));
            if (plain)
            {
                yield return new EvalPrompt(
                    [.. item.GetProperty("messages").EnumerateArray().Select(ReadMessage)],
                    item.GetProperty("thinking").GetBoolean(),
                    item.GetProperty("output").GetString()!);
            }
        }
    }

    private static KimiMessage ReadMessage(JsonElement message)
    {
        string content = message.GetProperty("content").GetString()!;
        return message.GetProperty("role").GetString() switch
        {
            "user" => KimiMessage.User(content),
            "assistant" => KimiMessage.Assistant(content),
            _ => KimiMessage.System(content),
        };
    }
}
