// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

/// <summary>Results find their calls, of which there may be as many as fit a request.</summary>
[TestFixture]
internal sealed class OpenCallsTests
{
    [Test]
    public void A_result_answers_the_first_call_of_the_latest_turn_that_it_may_mean([Range(1, 20)] int seed)
    {
        var random = new Random(seed);
        var open = new OpenCalls();
        var plain = new List<(string Given, string Name, string Shown, int Turn)>();
        int turn = 0;
        for (int step = 0; step < 500; step++)
        {
            string key = $"{random.Next(4)}";
            switch (random.Next(8))
            {
                case 0:
                    open.BeginTurn();
                    turn++;
                    break;
                case < 4:
                    (string Given, string Name, string Shown, int Turn) call = (key, $"{random.Next(3)}", $"{random.Next(9)}", turn);
                    open.Add(new KimiToolCall(call.Given, call.Name, "{}"), call.Shown);
                    plain.Add(call);
                    break;
                case 4:
                    Assert.That(open.AnswerGiven(key), Is.EqualTo(Answer(c => c.Given == key)));
                    break;
                case 5:
                    Assert.That(open.AnswerNamed(key), Is.EqualTo(Answer(c => c.Name == key)));
                    break;
                case 6:
                    Assert.That(open.AnswerShown(key), Is.EqualTo(Answer(c => c.Shown == key)));
                    break;
                default:
                    Assert.That(open.AnswerAny(), Is.EqualTo(Answer(_ => true)));
                    break;
            }

            Assert.That(open.Count, Is.EqualTo(plain.Count));
        }

        string? Answer(Predicate<(string Given, string Name, string Shown, int Turn)> isMeant)
        {
            int latest = plain.FindLastIndex(isMeant);
            if (latest < 0)
            {
                return null;
            }

            int answered = plain.FindIndex(c => c.Turn == plain[latest].Turn && isMeant(c));
            string shown = plain[answered].Shown;
            plain.RemoveAt(answered);
            return shown;
        }
    }

    /// <summary>To look through all calls for each result would take the square of their number: minutes for a request of 16 MB, which has 200,000 of both.</summary>
    [Test]
    [CancelAfter(30_000)]
    public void As_many_calls_and_results_as_a_request_holds_are_no_work(CancellationToken cancellationToken)
    {
        const int Many = 400_000;
        var open = new OpenCalls();
        for (int i = 0; i < Many; i++)
        {
            if (i % 4096 == 0)
            {
                open.BeginTurn();
            }

            open.Add(new KimiToolCall("a", "f", "{}"), $"functions.f:{i}");
        }

        int answered = 0;
        for (int i = 0; i < Many; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            answered += open.AnswerGiven("b") is null && open.AnswerShown("b") is null && open.AnswerNamed("g") is null ? 0 : 1;

            // From the end of each turn, so that what others find is answered already.
            answered += open.AnswerShown($"functions.f:{Many - 1 - i}") is null ? 0 : 1;
        }

        Assert.That((answered, open.AnswerGiven("a"), open.AnswerAny(), open.Count), Is.EqualTo((Many, (string?)null, (string?)null, 0)));
    }
}
