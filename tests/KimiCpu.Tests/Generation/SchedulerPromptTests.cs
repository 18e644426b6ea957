// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>How prompts share a step. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerPromptTests
{
    [Test]
    public void A_short_prompt_overtakes_a_long_one_which_goes_on()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 100);
        FakeCall longer = steps.Add(Text(1, 1000), 1);
        steps.Run();
        Assert.That(longer.Sequence!.Length, Is.EqualTo(100), "alone it has the whole step");
        FakeCall shorter = steps.Add(Text(2, 30), 1);
        steps.Run();
        Assert.That(shorter.Tokens, Has.Count.EqualTo(1));
        Assert.That(longer.Sequence!.Length, Is.EqualTo(170), "its half, and what the other one left");
    }

    [Test]
    public void Short_prompts_without_end_leave_a_long_one_half_of_every_step()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100);
        FakeCall longer = steps.Add(Text(1, 1000), 1);
        for (int step = 0; step < 20; step++)
        {
            steps.Add(Text(step + 2, 90), 1);
            steps.Run();
        }

        Assert.That(longer.Tokens, Has.Count.EqualTo(1), "1000 tokens at 50 a step");
    }

    /// <summary>A device that computes 70 tokens of a prompt with fewer operations than 69, in steps of 100.</summary>
    [Test]
    public void Where_half_of_a_step_is_inefficient_long_prompts_take_whole_steps_in_turn()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, efficientPart: 70);
        FakeCall first = steps.Add(Text(1, 1000), 1);
        FakeCall second = steps.Add(Text(2, 450), 1);
        FakeCall third = steps.Add(Text(3, 900), 1);
        var parts = new List<(int First, int Second, int Third)>();
        for (int step = 0; step < 8; step++)
        {
            parts.Add(steps.Parts(first, second, third));
        }

        Assert.That(parts, Is.EqualTo(Enumerable.Range(0, 8).Select(i => i % 2 == 0 ? (0, 100, 0) : (100, 0, 0))));
        Assert.That(steps.Parts(first, second, third), Is.EqualTo((0, 50, 50)), "what it leaves is the next one's");
        Assert.That(steps.Parts(first, second, third), Is.EqualTo((100, 0, 0)));
        while (first.Tokens.Count == 0)
        {
            (int one, _, int other) = steps.Parts(first, second, third);
            Assert.That((one, other), Is.EqualTo((100, 0)), "it needs fewer than the other one");
        }

        Assert.That(steps.Parts(first, second, third), Is.EqualTo((0, 0, 100)));
    }

    [Test]
    public void Short_prompts_overtake_at_once_where_whole_steps_go_round_too()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, efficientPart: 70);
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        FakeCall middle = steps.Add(Text(2, 900), 1);
        for (int step = 0; step < 6; step++)
        {
            FakeCall shorter = steps.Add(Text(step + 3, 30), 1);
            (int one, int other) = steps.Parts(longer, middle);
            Assert.That((one, other), Is.EqualTo((70, 0)).Or.EqualTo((0, 70)));
            Assert.That(shorter.Tokens, Has.Count.EqualTo(1));
        }

        FakeCall large = steps.Add(Text(100, 90), 1);
        steps.Run();
        steps.Run();
        steps.Run();
        Assert.That(large.Tokens, Has.Count.EqualTo(1), "it leaves no efficient part, and waits for its turn");
    }

    [Test]
    public void Short_prompts_without_end_leave_a_long_one_half_of_all_steps([Values(25, 60, 90, 100, 130)] int length)
    {
        var steps = new SchedulerSteps(pages: 4000, prefillChunk: 100, efficientPart: 70);
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        for (int step = 1; longer.Tokens.Count == 0; step++)
        {
            steps.Add(Text(step + 1, length), 1);
            steps.Run();
            int entered = longer.Sequence?.Length ?? longer.Prompt.Length;
            Assert.That(entered, Is.GreaterThanOrEqualTo((step - 1) * 50), $"after {step} steps, one of them to wait");
        }
    }

    /// <summary>Where halves are efficient, where the whole step is not, and where a device has taken over that does not care.</summary>
    [TestCase(50, false)]
    [TestCase(101, false)]
    [TestCase(70, true)]
    public void Elsewhere_the_call_that_came_first_has_half_of_every_step(int efficientPart, bool moves)
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, efficientPart: efficientPart);
        if (moves)
        {
            steps.MoveTo(pages: 1000, new IOException("lost"));
        }

        FakeCall first = steps.Add(Text(1, 1000), 1);
        FakeCall second = steps.Add(Text(2, 450), 1);
        Assert.That(Enumerable.Range(0, 4).Select(_ => steps.Parts(first, second)), Is.All.EqualTo((50, 50)));
    }

    /// <summary>As agents with the same instructions that come at once: what the last one waits for is the beginning of a long prompt.</summary>
    [TestCase(1)]
    [TestCase(70)]
    public void A_short_prompt_does_not_wait_longer_for_a_text_that_a_long_one_computes_than_for_its_own(int efficientPart)
    {
        Assert.That(Steps(shares: true), Is.LessThanOrEqualTo(Steps(shares: false) + 1));

        int Steps(bool shares)
        {
            var steps = new SchedulerSteps(pages: 200, prefillChunk: 100, efficientPart: efficientPart);
            int[] common = Text(3, 20 * KvPage.Tokens);
            steps.Add(Text(1, 60 * KvPage.Tokens), 1);
            FakeCall middle = steps.Add(Text(2, 30 * KvPage.Tokens), 1);
            steps.Add([.. common, .. Text(4, 40 * KvPage.Tokens)], 1);
            FakeCall waiting = steps.Add(shares ? [.. common, .. Text(5, KvPage.Tokens)] : Text(6, 21 * KvPage.Tokens), 1);
            int count = 0;
            for (; waiting.Tokens.Count == 0; count++)
            {
                steps.Run();
            }

            Assert.That(middle.Tokens, Is.Empty);
            Assert.That(waiting.CachedTokens, Is.EqualTo(shares ? common.Length : 0));
            return count;
        }
    }

    /// <summary>Of the call that waits only what it waits for overtakes, not the whole prompt that begins with it.</summary>
    [Test]
    public void What_a_short_prompt_waits_for_overtakes_beside_a_whole_part()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 200, efficientPart: 120);
        FakeCall first = steps.Add(Text(1, 3000), 1);
        FakeCall second = steps.Add(Text(2, 2000), 1);
        FakeCall waiting = steps.Add([.. Text(2, 320)[..256], .. Text(3, 10)], 1);
        Assert.That(steps.Parts(first, second), Is.EqualTo((0, 200)));
        Assert.That(steps.Parts(first, second), Is.EqualTo((144, 56)));
        Assert.That(waiting.Tokens, Is.Empty);
        steps.Run();
        Assert.That((waiting.Tokens.Count, waiting.CachedTokens), Is.EqualTo((1, 256)));
    }

    /// <summary>What is behind it in the long one's text is not short.</summary>
    [Test]
    public void What_a_short_prompt_waits_for_does_not_take_a_whole_step_from_another_short_one()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 1200);
        FakeCall first = steps.Add(Text(1, 6000), 1);
        FakeCall second = steps.Add(Text(2, 4000), 1);
        steps.Add([.. Text(2, 320)[..256], .. Text(3, 10)], 1);
        FakeCall shorter = steps.Add(Text(4, 270), 1);
        Assert.That(steps.Parts(first, second, shorter), Is.EqualTo((600, 330, 270)));
    }

    /// <summary>Steps that a long one has alone pay what it is short of.</summary>
    [Test]
    public void Each_of_several_short_prompts_that_come_now_and_then_hears_soon()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, Steady(), efficientPart: 70);
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        for (int i = 0; i < 3; i++)
        {
            for (int alone = 0; alone < 4; alone++)
            {
                steps.Run();
            }

            FakeCall shorter = steps.Add(Text(i + 2, 20), 1);
            Assert.That(steps.Parts(longer, shorter), Is.EqualTo((0, 20)));
        }
    }

    /// <summary>Steps of 100 take long, and 32 are the pace before anything is known.</summary>
    [Test]
    public void Who_asks_little_does_not_wait_for_a_whole_step_of_others()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, Steady());
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        FakeCall other = steps.Add(Text(2, 1900), 1);
        Assert.That(steps.Parts(longer, other), Is.EqualTo((50, 50)), "no text ends, and no answer runs");
        FakeCall shorter = steps.Add(Text(3, 10), 1);
        Assert.That(steps.Parts(longer, other, shorter), Is.EqualTo((22, 0, 10)), "the first keeps the rest");
        shorter = steps.Add(Text(4, 30), 1);
        Assert.That(steps.Parts(longer, other, shorter), Is.EqualTo((30, 0, 30)), "and its half");
        Assert.That(steps.Parts(longer, other), Is.EqualTo((50, 50)));
    }

    [Test]
    public void Who_came_first_and_asks_little_does_not_wait_for_a_whole_step_of_others([Values(1, 70)] int efficientPart)
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, Steady(), efficientPart: efficientPart);
        FakeCall shorter = steps.Add(Text(1, 10), 1);
        FakeCall longer = steps.Add(Text(2, 2000), 1);
        Assert.That(steps.Parts(shorter, longer), Is.EqualTo((10, efficientPart == 1 ? 22 : 0)), "a small part would take as long as a large one");
        Assert.That(steps.Parts(shorter, longer), Is.EqualTo((0, 100)));
    }

    [Test]
    public void Without_an_aim_a_step_in_which_a_text_ends_is_as_long_as_others()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100);
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        FakeCall shorter = steps.Add(Text(2, 10), 1);
        Assert.That(steps.Parts(longer, shorter), Is.EqualTo((90, 10)));
    }

    /// <summary>They answer with one token, so that no answer ever runs.</summary>
    [Test]
    public void Who_asks_little_without_end_leaves_a_long_one_half_of_what_is_computed([Values(1, 70)] int efficientPart, [Values(5, 20, 30, 45, 90)] int length)
    {
        var steps = new SchedulerSteps(pages: 4000, prefillChunk: 100, Steady(), efficientPart: efficientPart);
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        FakeCall[] shorter = new FakeCall[400];
        for (int step = 0; longer.Tokens.Count == 0; step++)
        {
            shorter[step] = steps.Add(Text(step + 2, length), 1);
            int before = steps.PromptRows;
            (int part, int own) = steps.Parts(longer, shorter[step]);
            Assert.That(part + own, Is.LessThanOrEqualTo(100));
            Assert.That(steps.PromptRows, Is.GreaterThan(before));
            int entered = longer.Sequence?.Length ?? 2000;
            Assert.That(entered, Is.GreaterThanOrEqualTo((steps.PromptRows / 2) - 100), "but for a step");
        }
    }

    [Test]
    public void Where_whole_steps_go_round_who_asks_little_has_every_second_one_alone()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100, Steady(), efficientPart: 70);
        FakeCall longer = steps.Add(Text(1, 2000), 1);
        for (int step = 0; step < 6; step++)
        {
            FakeCall shorter = steps.Add(Text(step + 2, 20), 1);
            Assert.That(steps.Parts(longer, shorter), Is.EqualTo((step % 2 == 0 ? 0 : 80, 20)));
        }
    }

    [Test]
    public void Answers_move_in_every_step_in_which_prompts_enter()
    {
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100);
        FakeCall answering = steps.Add(Text(1, 10), 100);
        steps.Run();
        steps.Add(Text(2, 2000), 1);
        for (int step = 0; step < 10; step++)
        {
            steps.Run();
            Assert.That(answering.Tokens, Has.Count.EqualTo(step + 2));
        }
    }

    private static SchedulingOptions Steady() => new() { MaxTokenGap = TimeSpan.FromSeconds(0.5) };
}
