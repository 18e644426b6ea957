// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>What the engine's thread does with the cache for others, and when.</summary>
[TestFixture]
internal sealed class CacheCallsTests
{
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(50);

    private KvCache _cache = null!;
    private CacheCalls _calls = null!;
    private int _done;

    [SetUp]
    public void Make()
    {
        _cache = new KvCache(new ObservedHotPath(), 8, 512);
        _calls = new CacheCalls(() => _cache, failure => new KimiException(failure.Message, failure));
        _done = 0;
    }

    [Test]
    public void Where_no_call_moves_all_that_has_come_is_done()
    {
        Add(24, TimeSpan.Zero);
        _calls.Run(besideCalls: false);
        Assert.That((_done, _calls.Any), Is.EqualTo((24, false)));
    }

    /// <summary>Three batches each of eight sessions that are saved together, of 5 ms.</summary>
    [Test]
    public void Beside_calls_what_takes_time_has_a_part_of_the_step_alone()
    {
        Add(24, TimeSpan.FromMilliseconds(6));
        _calls.Run(besideCalls: true);
        Assert.That(_done, Is.Zero);
        Assert.That(_calls.Serve(s_step));
        Assert.That(_done, Is.EqualTo(1));
    }

    [Test]
    public void Pages_that_are_given_back_are_free_before_the_next_step()
    {
        _calls.Post(_ => _done++);
        _calls.Post(_ => _done++);
        Add(1, TimeSpan.Zero);
        _calls.Post(_ => _done++);
        _calls.Run(besideCalls: true);
        Assert.That(_done, Is.EqualTo(2), "the third one may follow on what was asked for before it");
    }

    /// <summary>A batch takes as long as ten steps' parts.</summary>
    [Test]
    public void What_takes_more_than_its_part_has_less_of_the_next_steps()
    {
        Add(3, TimeSpan.FromMilliseconds(60));
        Assert.That(_calls.Serve(s_step));
        for (int step = 0; step < 8; step++)
        {
            _calls.Run(besideCalls: true);
            Assert.That(_calls.Serve(s_step), Is.False);
        }

        Assert.That(_done, Is.EqualTo(1));
        for (int step = 0; _done == 1; step++)
        {
            Assert.That(step, Is.LessThan(10_000));
            _calls.Serve(s_step);
        }

        // Nobody is held up any more.
        _calls.Run(besideCalls: false);
        Add(1, TimeSpan.Zero);
        Assert.That(_calls.Serve(s_step));
        Assert.That(_done, Is.EqualTo(4));
    }

    private void Add(int count, TimeSpan time)
    {
        for (int i = 0; i < count; i++)
        {
            _ = _calls.Add(_ =>
            {
                Thread.Sleep(time);
                return ++_done;
            });
        }
    }
}
