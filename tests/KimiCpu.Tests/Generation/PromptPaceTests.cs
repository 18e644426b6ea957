// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class PromptPaceTests
{
    /// <summary>A step's time as a model of experts has it: the more tokens, the less each one more costs.</summary>
    [TestCase(0.02, 0.004, 0.8)]
    [TestCase(0.10, 0.020, 0.5)]
    [TestCase(0.30, 0.001, 1.0)]
    public void Steps_come_to_the_gap_and_stay_there(double alone, double token, double power)
    {
        var pace = new PromptPace(4096, TimeSpan.FromSeconds(0.5));
        double Time(int tokens) => alone + (token * Math.Pow(tokens, power));
        pace.Note(0, TimeSpan.FromSeconds(Time(0)));
        double worst = 0;
        for (int step = 0; step < 60; step++)
        {
            int tokens = pace.Tokens(answersRun: true);
            worst = step < 30 ? worst : Math.Max(worst, Time(tokens));
            pace.Note(tokens, TimeSpan.FromSeconds(Time(tokens)));
        }

        Assert.That(worst, Is.InRange(0.35, 0.5));
    }

    [Test]
    public void A_step_that_takes_too_long_makes_the_next_one_shorter_at_once()
    {
        var pace = new PromptPace(256, TimeSpan.FromSeconds(0.1));
        for (int i = 0; i < 10; i++)
        {
            pace.Note(pace.Tokens(answersRun: true), TimeSpan.FromSeconds(0.02));
        }

        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(256));
        pace.Note(256, TimeSpan.FromSeconds(0.8));
        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(25));
        pace.Note(25, TimeSpan.FromSeconds(10));
        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(16), "prompts move however long it takes");
    }

    /// <summary>As the first one is while its weights come from a drive; then prompts come without a pause.</summary>
    [Test]
    public void A_slow_step_without_prompts_is_forgotten_when_steps_with_them_take_less()
    {
        var pace = new PromptPace(4096, TimeSpan.FromSeconds(0.5));
        pace.Note(0, TimeSpan.FromSeconds(3));
        int tokens = 0;
        for (int step = 0; step < 40; step++)
        {
            tokens = Step(pace, Time);
            Assert.That(Time(tokens), Is.LessThan(0.5));
        }

        Assert.That(Time(tokens), Is.InRange(0.35, 0.5));

        static double Time(int tokens) => 0.02 + (0.001 * tokens);
    }

    [Test]
    public void Few_tokens_say_nothing_against_more()
    {
        var pace = new PromptPace(256, TimeSpan.FromSeconds(0.1));
        pace.Note(3, TimeSpan.FromSeconds(0.03));
        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(32));
    }

    [Test]
    public void Without_answers_or_an_aim_a_step_is_as_large_as_allowed()
    {
        Assert.That(new PromptPace(256, TimeSpan.FromSeconds(0.1)).Tokens(answersRun: false), Is.EqualTo(256));
        Assert.That(new PromptPace(256, null).Tokens(answersRun: true), Is.EqualTo(256));
        Assert.That(new PromptPace(3, TimeSpan.FromSeconds(0.1)).Tokens(answersRun: true), Is.EqualTo(3));
    }

    /// <summary>A token takes 1 ms by itself, and as long again in a part of a prompt of less than 512 tokens, as behind a long context.</summary>
    [Test]
    public void A_part_that_takes_fewer_operations_is_found_again()
    {
        var pace = new PromptPace(4096, TimeSpan.FromSeconds(1), efficientPart: 512);
        int tokens = 0;
        for (int step = 0; step < 20; step++)
        {
            tokens = Step(pace, Time);
            Assert.That(Time(tokens), Is.LessThan(1.2));
        }

        Assert.That(tokens, Is.InRange(760, 800));

        // A prompt's end, which is too short, sets it back.
        pace.Note(450, TimeSpan.FromSeconds(Time(450)));
        Assert.That(pace.Tokens(answersRun: true), Is.LessThan(512));
        pace.Note(0, TimeSpan.Zero);
        for (int step = 0; step < 4; step++)
        {
            tokens = Step(pace, Time);
        }

        Assert.That(tokens, Is.InRange(760, 800));

        static double Time(int tokens) => tokens * (tokens < 512 ? 0.002 : 0.001);
    }

    [Test]
    public void One_that_takes_too_long_all_the_same_is_tried_once_a_prompt()
    {
        var pace = new PromptPace(4096, TimeSpan.FromSeconds(1), efficientPart: 512);
        Assert.That(TooLong(), Is.EqualTo(1));
        Assert.That(TooLong(), Is.Zero);
        pace.Note(0, TimeSpan.Zero);
        Assert.That(TooLong(), Is.EqualTo(1));

        int TooLong() => Enumerable.Range(0, 20).Count(_ => Time(Step(pace, Time)) > 1);

        static double Time(int tokens) => tokens * (tokens < 512 ? 0.0022 : 0.0021);
    }

    [TestCase(512, 0.003, TestName = "What would take far too long is not tried")]
    [TestCase(8192, 0.0022, TestName = "Nor what no step has")]
    public void An_efficient_part_is_not_tried(int efficientPart, double token)
    {
        var pace = new PromptPace(4096, TimeSpan.FromSeconds(1), efficientPart);
        for (int step = 0; step < 20; step++)
        {
            Assert.That(Step(pace, tokens => tokens * token), Is.LessThan(512));
        }
    }

    /// <summary>
    /// Kimi K2, computed: a step reads the experts that its tokens have met and the hot path with 400 GB/s, or computes with 64 cores. A prompt must not take several times as long for
    /// answers that have long ended when it is in, and these see no longer gap than they must.
    /// </summary>
    [Test]
    public void A_prompt_of_a_sparse_model_enters_with_half_of_its_speed_at_least()
    {
        var pace = new PromptPace(960, TimeSpan.FromSeconds(0.5), sparsePart: 192);
        pace.Note(0, TimeSpan.FromSeconds(Time(1)));
        int tokens = 0;
        for (int step = 0; step < 20; step++)
        {
            tokens = Step(pace, Time);
        }

        Assert.That(tokens, Is.EqualTo(192));
        Assert.That(tokens / Time(tokens), Is.GreaterThan(0.5 * 960 / Time(960)));
        Assert.That(Time(tokens), Is.LessThan(1.5));

        static double Time(int tokens) => Math.Max((10.6e9 + (60 * 24.77e6 * 384 * (1 - Math.Pow(1 - (8 / 384.0), tokens)))) / 400e9, tokens * 63e9 / 11.9e12);
    }

    /// <summary>There each token takes its time, and many of them save nothing.</summary>
    [Test]
    public void Behind_a_long_text_a_sparse_part_takes_eight_gaps_at_most()
    {
        var pace = new PromptPace(960, TimeSpan.FromSeconds(0.5), sparsePart: 192);
        for (int step = 0; step < 10; step++)
        {
            Step(pace, tokens => 0.4 + (0.005 * tokens));
        }

        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(192));
        pace.Note(0, TimeSpan.FromSeconds(0.1));
        int most = 0;
        double slowest = 0;
        for (int step = 0; step < 20; step++)
        {
            int tokens = Step(pace, Time);
            (most, slowest) = (Math.Max(most, tokens), Math.Max(slowest, Time(tokens)));
        }

        Assert.That(slowest, Is.LessThan(4));
        Assert.That(most, Is.InRange(50, 64), "but the part is as large as that allows");

        static double Time(int tokens) => 0.4 + (0.05 * tokens);
    }

    [Test]
    public void Few_tokens_say_nothing_against_the_others_of_a_sparse_part()
    {
        var pace = new PromptPace(960, TimeSpan.FromSeconds(0.5), sparsePart: 192);
        for (int step = 0; step < 10; step++)
        {
            Step(pace, _ => 1.4);
        }

        pace.Note(10, TimeSpan.FromSeconds(0.9));
        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(192));
        pace.Note(10, TimeSpan.FromSeconds(30));
        Assert.That(pace.Tokens(answersRun: true), Is.EqualTo(16));
    }

    private static int Step(PromptPace pace, Func<int, double> time)
    {
        int tokens = pace.Tokens(answersRun: true);
        pace.Note(tokens, TimeSpan.FromSeconds(time(tokens)));
        return tokens;
    }
}
