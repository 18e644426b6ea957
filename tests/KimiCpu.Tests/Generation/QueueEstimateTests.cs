// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>When clients that were refused are told to come again. With a second they would all come each second, and a call of a large model takes minutes.</summary>
[TestFixture]
internal sealed class QueueEstimateTests
{
    private readonly ManualTime _time = new();
    private QueueEstimate _estimate = null!;

    [SetUp]
    public void Begin()
    {
        _estimate = new QueueEstimate(_time);
        _estimate.Begin();
    }

    [Test]
    public void Before_a_call_has_ended_it_is_as_long_as_calls_have_run()
    {
        Assert.That(Seconds(1), Is.EqualTo(1), "never at once");
        Pass(60);
        Assert.That((Seconds(1), Seconds(6)), Is.EqualTo((60, 180)));
    }

    [Test]
    public void Half_of_those_that_wait_have_to_begin_within_ten_minutes_at_most()
    {
        End(after: 60);
        Assert.That(new[] { 0, 1, 3, 6, 7, 20, 21, 22, 100, int.MaxValue }.Select(Seconds), Is.EqualTo(new[] { 60, 60, 60, 180, 180, 600, 600, 600, 600, 600 }));
    }

    [Test]
    public void Later_calls_count_more_than_earlier_ones_and_one_alone_not_much()
    {
        End(after: 60);
        End(after: 10);
        Assert.That(Seconds(1), Is.EqualTo(50));
        for (int i = 0; i < 50; i++)
        {
            End(after: 0.1);
        }

        Assert.That(Seconds(1), Is.EqualTo(1));
    }

    [Test]
    public void Parts_of_a_second_are_rounded_up()
    {
        End(after: 1.2);
        Assert.That(Seconds(1), Is.EqualTo(2));
    }

    /// <summary>A night without calls is no long call.</summary>
    [Test]
    public void Time_without_calls_does_not_count()
    {
        End(after: 60);
        Pass(3600);
        _estimate.Begin();
        End(after: 10);
        Assert.That(Seconds(1), Is.EqualTo(50));
    }

    private int Seconds(int waiting) => (int)_estimate.RetryAfter(waiting).TotalSeconds;

    private void Pass(double seconds) => _time.Advance(TimeSpan.FromSeconds(seconds));

    private void End(double after)
    {
        Pass(after);
        _estimate.NoteEnd();
    }
}
