// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;

namespace KimiCpu.Tests.Server.Http;

[TestFixture]
internal sealed class RequestExceptionTests
{
    [Test]
    public async Task What_the_library_refuses_is_the_callers_to_change()
    {
        KimiModel model = (await SharedServers.Plain).Model;
        string deep = $"{string.Concat(Enumerable.Repeat("{\"a\":", 100))}1{new string('}', 100)}";
        Action[] mistakes =
        [
            () => _ = new KimiTool("f", null, "[]"),
            () => _ = new KimiTool("f", null, "{"),
            () => _ = new KimiTool("f", null, JsonDocument.Parse(deep, new JsonDocumentOptions { MaxDepth = 200 }).RootElement),
            () => model.Generate(Array.Empty<KimiMessage>()),
            () => model.Generate("x", new GenerationOptions { LogitBias = new Dictionary<int, float> { [99_999_999] = 1 } }),
            () => model.Generate("x", new GenerationOptions { StopSequences = null! }),
            () => model.Generate("x", new GenerationOptions { ToolChoice = ToolChoice.Required }),
            () => model.Generate("x", new GenerationOptions { Constraint = KimiConstraint.Json(), IgnoreEndOfText = true }),
            () => model.Generate(ReadOnlyMemory<int>.Empty),
            () => model.Generate(new[] { 99_999_999 }),
            () => model.Generate(new[] { 1 }, new GenerationOptions { Tools = [new KimiTool("f")] }),
        ];
        Assert.That(mistakes.Select(m => Of(m)?.Status), Is.All.EqualTo(400));
    }

    /// <summary>The caller would be told of a mistake that he has not made, and the log would not know where it was thrown.</summary>
    [Test]
    public void What_NET_throws_of_the_same_types_is_the_servers_failure()
    {
        Assert.That(Of(() => _ = new List<int>(-1)), Is.Null, "out of range");
        Assert.That(Of(() => _ = new Dictionary<string, int> { { "a", 1 }, { "a", 2 } }), Is.Null, "twice");
        Assert.That(Of(() => _ = int.Parse("x", CultureInfo.InvariantCulture)), Is.Null, "no number");
        Assert.That(Of(() => Stream.Synchronized(new MemoryStream([], writable: false)).SetLength(1)), Is.Null, "not supported");
    }

    private static RequestException? Of(Action act) => RequestException.Of(Caught(act), OpenAIDialect.Instance);

    private static Exception Caught(Action act)
    {
        try
        {
            act();
        }
        catch (Exception e)
        {
            // In programs that were compiled ahead of time nobody knows which assembly threw it.
            e.Source = "<unknown>";
            return e;
        }

        throw new InvalidOperationException("It throws nothing.");
    }
}
