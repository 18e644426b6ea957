// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>What the server remembers of its answers, how much of it, and for how long.</summary>
[TestFixture]
internal sealed class AnswerMemoryTests
{
    /// <summary>How clients write what they have read.</summary>
    [TestCase("""{"a":1,"b":"é/"}""", """{"b": "\u00e9\/", "a": 1}""", true)]
    [TestCase("""{"a":[1.50,1e3,-0,2.0]}""", """{"a":[1.5,1000,0,2]}""", true)]
    [TestCase("""{"a":12345678901234567890}""", """{"a":12345678901234567000}""", false)]
    [TestCase("""{"a":1}""", """{"a":"1"}""", false)]
    [TestCase("""{"a":[1,2]}""", """{"a":[2,1]}""", false)]
    [TestCase("""{"a":null}""", "{}", false)]
    [TestCase("""{"a":"\ud83d"}""", """{"a":"\ud83d"}""", true)]
    [TestCase("""{"a":1e99999999999}""", """{"a": 1e99999999999}""", false)]
    [TestCase("no JSON", "no JSON", true)]
    [TestCase("no JSON", "no  JSON", false)]
    public void Arguments_are_the_models_own_where_they_say_the_same(string written, string returned, bool same)
    {
        var memory = new AnswerMemory();
        memory.Keep(memory.Recall(Ask("Hi")), Answer("Hello", calls: written));
        KimiMessage back = memory.Recall(Ask("Hi", Said("Hello", returned))).Messages![1];
        Assert.That(back.ToolCalls.Single(), Is.EqualTo(new KimiToolCall("functions.f:3", "f", same ? written : returned)), "the id is the client's");
    }

    [Test]
    public void It_keeps_the_answers_that_were_asked_for_last_and_of_one_conversation_the_first_ones()
    {
        var memory = new AnswerMemory(maxAnswers: 3);
        memory.Keep(memory.Recall(Ask("A")), Answer("1"));
        memory.Keep(memory.Recall(Ask("A", Said("1"), KimiMessage.User("more"))), Answer("2"));
        memory.Keep(memory.Recall(Ask("B")), Answer("1"));
        Assert.That(Known(memory, Ask("A", Said("1"), KimiMessage.User("more"), Said("2"))), Is.EqualTo(new[] { true, true }));
        memory.Keep(memory.Recall(Ask("C")), Answer("1"));
        Assert.That(Known(memory, Ask("B", Said("1"))), Is.EqualTo(new[] { false }), "asked for longest ago");
        memory.Keep(memory.Recall(Ask("D")), Answer("1"));
        Assert.That(Known(memory, Ask("A", Said("1"), KimiMessage.User("more"), Said("2"))), Is.EqualTo(new[] { true, false }), "its beginning is of use without its end");
    }

    [Test]
    public void It_takes_no_more_bytes_than_it_may()
    {
        var memory = new AnswerMemory(maxBytes: 100_000);
        for (int i = 0; i < 1000; i++)
        {
            memory.Keep(memory.Recall(Ask($"{i}")), Answer("Hello", tokens: 1000, calls: new string('x', 100)));
            Assert.That(memory.Bytes, Is.LessThanOrEqualTo(100_000));
        }

        Assert.That(memory.Count, Is.InRange(20, 25));
        memory.Keep(memory.Recall(Ask("999")), Answer("Hello", tokens: 1000, calls: new string('x', 100)));
        Assert.That(memory.Count, Is.InRange(20, 25), "the same answer again is the first one");
        memory.Keep(memory.Recall(Ask("long")), Answer("Hello", tokens: 100_000));
        Assert.That((memory.Count, memory.Bytes), Is.EqualTo((0, 0)), "one that is too long is not kept");
    }

    /// <summary>Somebody who begins alike may get the same answer in other tokens: what has gone on behind the first would be computed anew.</summary>
    [Test]
    public void Of_answers_that_say_the_same_the_first_is_kept()
    {
        var memory = new AnswerMemory();
        AnswerRequest request = memory.Recall(Ask("Hi"));
        memory.Keep(request, Answer("Hello", tokens: 5, calls: """{"a":1}"""));
        memory.Keep(request, Answer("Hello", tokens: 6, calls: """{"a": 1}"""));
        KimiMessage back = memory.Recall(Ask("Hi", Said("Hello", """{ "a": 1 }"""))).Messages![1];
        Assert.That((back.GeneratedTokens!.Count, back.ToolCalls.Single().Arguments), Is.EqualTo((5, """{"a":1}""")));
    }

    [Test]
    public void Continued_prompts_have_no_answers_to_know_again()
    {
        var memory = new AnswerMemory();
        memory.Keep(memory.Recall(new AnswerRequest { Prompts = [[1]], Options = new GenerationOptions() }), Answer("Hello"));
        Assert.That(memory.Count, Is.Zero);
    }

    [Test]
    [CancelAfter(60_000)]
    public void Several_threads_may_use_it_at_once(CancellationToken cancellationToken)
    {
        var memory = new AnswerMemory(maxAnswers: 20);
        Parallel.For(0, 2000, new ParallelOptions { MaxDegreeOfParallelism = 4, CancellationToken = cancellationToken }, i =>
        {
            string question = $"{i % 50}";
            memory.Keep(memory.Recall(Ask(question)), Answer("Hello", tokens: i % 50));
            Assert.That(memory.Recall(Ask(question, Said("Hello"))).Messages![1].GeneratedTokens, Is.Null.Or.Count.EqualTo(i % 50));
        });
        Assert.That(memory.Count, Is.EqualTo(20));
    }

    private static AnswerRequest Ask(string question, params KimiMessage[] more) => new() { Messages = [KimiMessage.User(question), .. more], Options = new GenerationOptions() };

    private static KimiMessage Said(string text, string? arguments = null) =>
        KimiMessage.Assistant(text) with { ToolCalls = arguments is null ? [] : [new KimiToolCall("functions.f:3", "f", arguments)] };

    private static IEnumerable<bool> Known(AnswerMemory memory, AnswerRequest request) =>
        memory.Recall(request).Messages!.Where(m => m.Role == KimiRole.Assistant).Select(m => m.GeneratedTokens is not null);

    private static GenerationResult Answer(string text, int tokens = 3, string? calls = null) => new()
    {
        Text = text,
        Reasoning = null,
        ToolCalls = calls is null ? [] : [new KimiToolCall("functions.f:0", "f", calls)],
        Tokens = [.. Enumerable.Repeat(7, tokens)],
        LogProbabilities = [],
        FinishReason = FinishReason.Stop,
        Usage = new GenerationUsage(1, tokens, 0),
        Timings = new GenerationTimings(TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero),
    };
}
