// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>
/// Template, tools, tokenizer, model and stop tokens together: the greedy outputs of the embedded model by an independent
/// numpy implementation, over the embedded resources and the files alike.
/// </summary>
[TestFixture]
internal sealed class NanoEvalTests
{
    /// <param name="Output">Of the prompt.</param>
    /// <param name="ToolResults">Given to the calls in the output; none for prompts without a second turn.</param>
    /// <param name="Final">The output after the results.</param>
    private sealed record EvalPrompt(IReadOnlyList<KimiMessage> Messages, IReadOnlyList<KimiTool> Tools, bool Thinking, string Output, string[] ToolResults, string? Final)
    {
        public IEnumerable<string> Outputs => Final is null ? [Output] : [Output, Final];
    }

    [Test]
    public void Exact_outputs_equal_the_reference()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Exact = true });
        var firsts = new ConcurrentBag<(EvalPrompt Prompt, GenerationResult Result)>();
        (int equal, List<string> different) = Run(model, firsts);
        Assert.That(different, Is.Empty);
        Assert.That(equal, Is.EqualTo(512 + 97), "first and second turns");
        Assert.That(firsts.Count(f => f.Prompt.ToolResults.Length > 0), Is.EqualTo(97));
        foreach ((EvalPrompt prompt, GenerationResult result) in firsts.Where(f => f.Prompt.ToolResults.Length > 0))
        {
            CheckCalls(prompt, result);
        }
    }

    /// <summary>Rounded activations part at near-ties only: 13 of 609 outputs with AVX-512.</summary>
    [Test]
    public void Fast_outputs_hardly_differ()
    {
        using KimiModel model = KimiModel.Open(Repository.NanoModel);
        (int equal, List<string> different) = Run(model, []);
        Assert.That(different, Has.Count.LessThanOrEqualTo(25), $"{equal} equal, {different.Count} different");
    }

    /// <summary>By default calls obey the declarations, also those that the model alone gets wrong.</summary>
    [Test]
    public async Task Constrained_calls_are_all_valid()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Exact = true });
        EvalPrompt[] prompts = [.. Load().Where(p => p.Tools.Count > 0)];
        var results = new GenerationResult[prompts.Length];
        Parallel.For(0, prompts.Length, new ParallelOptions { MaxDegreeOfParallelism = 16 }, i =>
            results[i] = model.Generate(prompts[i].Messages, Options(prompts[i]) with { ConstrainToolArguments = true }));
        int calls = 0;
        int corrected = 0;
        for (int i = 0; i < prompts.Length; i++)
        {
            Assert.That(results[i].IncompleteToolCall, Is.Null);
            Assert.That(await WrongCalls(prompts[i], results[i]), Is.Empty);
            calls += results[i].ToolCalls.Count;
            if (Output(model, results[i]) != prompts[i].Output)
            {
                // Nothing that was valid changes.
                GenerationResult free = model.Generate(prompts[i].Messages, Options(prompts[i]));
                Assert.That(Output(model, free), Is.EqualTo(prompts[i].Output));
                Assert.That(await WrongCalls(prompts[i], free), Is.Not.Empty);
                corrected++;
            }
        }

        Assert.That(calls, Is.GreaterThanOrEqualTo(97));
        Assert.That(corrected, Is.EqualTo(6));
    }

    /// <summary>Calls of no declared tool, or with arguments that its schema does not allow or does not declare.</summary>
    private static async Task<List<string>> WrongCalls(EvalPrompt prompt, GenerationResult result)
    {
        var wrong = new List<string>();
        foreach (KimiToolCall call in result.ToolCalls)
        {
            if (prompt.Tools.SingleOrDefault(t => t.Name == call.Name) is not { } tool)
            {
                wrong.Add(call.Name);
                continue;
            }

            NJsonSchema.JsonSchema schema = await NJsonSchema.JsonSchema.FromJsonAsync(tool.Parameters!.Value.GetRawText());
            bool declared = JsonElement.Parse(call.Arguments).EnumerateObject().All(member => schema.Properties.ContainsKey(member.Name));
            if (!declared || schema.Validate(call.Arguments).Count > 0)
            {
                wrong.Add($"{call.Name} {call.Arguments}");
            }
        }

        return wrong;
    }

    private static void CheckCalls(EvalPrompt prompt, GenerationResult result)
    {
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.ToolCalls));
        Assert.That(result.ToolCalls, Has.Count.EqualTo(prompt.ToolResults.Length));
        Assert.That(result.ToolCalls.Select((c, i) => c.Id == $"functions.{c.Name}:{i}"), Is.All.True);
        Assert.That(result.ToolCalls.Select(c => c.Name).Distinct(), Is.SubsetOf(prompt.Tools.Select(t => t.Name)));
        Assert.That(result.ToolCalls.Select(c => JsonElement.Parse(c.Arguments).ValueKind), Is.All.EqualTo(JsonValueKind.Object));
        Assert.That((result.Text, result.IncompleteToolCall), Is.EqualTo(("", (KimiToolCall?)null)));
    }

    private static (int Equal, List<string> Different) Run(KimiModel model, ConcurrentBag<(EvalPrompt Prompt, GenerationResult Result)> firsts)
    {
        EvalPrompt[] prompts = [.. Load()];
        var outputs = new List<string>[prompts.Length];
        Parallel.For(0, prompts.Length, new ParallelOptions { MaxDegreeOfParallelism = 16 }, i => outputs[i] = Answer(model, prompts[i], firsts));
        string[] expected = [.. prompts.SelectMany(p => p.Outputs)];
        List<string> different = [.. expected.Zip(outputs.SelectMany(o => o)).Where(p => p.First != p.Second).Select(p => $"expected '{p.First}', found '{p.Second}'")];
        return (expected.Length - different.Count, different);
    }

    /// <summary>The output, and the one after the tools' results where there are any.</summary>
    private static List<string> Answer(KimiModel model, EvalPrompt prompt, ConcurrentBag<(EvalPrompt Prompt, GenerationResult Result)> firsts)
    {
        GenerationResult first = model.Generate(prompt.Messages, Options(prompt));
        firsts.Add((prompt, first));
        var outputs = new List<string> { Output(model, first) };
        if (prompt.Final is not null)
        {
            IEnumerable<KimiMessage> results = first.ToolCalls.Zip(prompt.ToolResults, (call, result) => KimiMessage.Tool(call.Id, result));
            outputs.Add(Output(model, model.Generate([.. prompt.Messages, first.ToMessage(), .. results], Options(prompt))));
        }

        return outputs;
    }

    /// <summary>The reference was free in its arguments, and a few of its calls are wrong.</summary>
    private static GenerationOptions Options(EvalPrompt prompt) =>
        new() { Temperature = 0, Thinking = prompt.Thinking, Tools = prompt.Tools, MaxTokens = 400, ConstrainToolArguments = false };

    private static string Output(KimiModel model, GenerationResult result)
    {
        IEnumerable<int> shown = result.FinishReason == FinishReason.Length ? result.Tokens : result.Tokens.SkipLast(1);
        return model.Tokenizer.Decode([.. shown]);
    }

    private static IEnumerable<EvalPrompt> Load()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.Fixture("kimi-nano-eval.json")));
        foreach (JsonElement item in document.RootElement.GetProperty("prompts").EnumerateArray())
        {
            Conversation conversation = ConversationJson.Read(item);
            yield return new EvalPrompt(
                conversation.Messages,
                conversation.Tools,
                conversation.Thinking!.Value,
                item.GetProperty("output").GetString()!,
                item.TryGetProperty("result", out JsonElement results) ? [.. results.EnumerateArray().Select(r => r.GetString()!)] : [],
                item.TryGetProperty("final", out JsonElement final) ? final.GetString() : null);
        }
    }
}
