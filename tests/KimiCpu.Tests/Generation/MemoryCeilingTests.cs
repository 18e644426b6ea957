// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class MemoryCeilingTests
{
    private readonly ManualTime _time = new();

    [Test]
    public void First_step_beyond_the_caches_is_followed_by_one_measurement_in_idle_time()
    {
        var memory = new FakeMemory { CacheBytes = 100 };
        var ceiling = new MemoryCeiling(memory, _time);
        ceiling.NoteStep(199);
        Assert.That(ceiling.HasWork(idle: true), Is.False, "the caches may serve such a step");
        ceiling.NoteStep(200);
        ceiling.NoteStep(10);
        Assert.That(ceiling.HasWork(idle: true));
        Assert.That(ceiling.HasWork(idle: false), Is.False, "calls come first");
        ceiling.Advance(idle: false);
        Assert.That(memory.StartedCount, Is.Zero);
        Assert.That(ceiling.ShareOf(500, 200), Is.Null);

        ceiling.Advance(idle: true);
        ceiling.Advance(idle: false);
        ceiling.Advance(idle: true);
        Assert.That(memory.SliceCount, Is.EqualTo(2), "a call that comes in between interrupts it");
        Assert.That(ceiling.ShareOf(500, 200), Is.Null);
        ceiling.Advance(idle: true);
        Assert.That(ceiling.ShareOf(500, 200), Is.EqualTo(0.5));
        Assert.That(memory.DisposedCount, Is.EqualTo(1));

        ceiling.NoteStep(200);
        Assert.That(ceiling.HasWork(idle: true), Is.False, "once is enough");
    }

    [Test]
    public void Share_is_unknown_where_the_caches_may_have_served_the_step_or_nothing_was_decoded()
    {
        var ceiling = new MemoryCeiling(new FakeMemory { CacheBytes = 100 }, _time);
        Measure(ceiling);
        Assert.That(ceiling.ShareOf(500, 199), Is.Null);
        Assert.That(ceiling.ShareOf(0, 200), Is.Null);
        Assert.That(ceiling.ShareOf(250, 200), Is.EqualTo(0.25));
    }

    [Test]
    public void Those_who_ask_share_a_measurement_that_runs_between_steps()
    {
        var memory = new FakeMemory();
        var ceiling = new MemoryCeiling(memory, _time);
        Task<double?> first = ceiling.Request();
        ceiling.Advance(idle: false);
        Task<double?> second = ceiling.Request();
        ceiling.Advance(idle: false);
        Assert.That(first.IsCompleted || second.IsCompleted, Is.False);
        ceiling.Advance(idle: false);
        Assert.That((first.Result, second.Result), Is.EqualTo((1000.0, 1000.0)));
        Assert.That(memory.StartedCount, Is.EqualTo(1));
        Assert.That(ceiling.HasWork(idle: true), Is.False);

        Task<double?> later = ceiling.Request();
        Assert.That(later.IsCompleted, Is.False, "asking again measures again");
        Measure(ceiling);
        Assert.That(later.Result, Is.EqualTo(1000));
        Assert.That((memory.StartedCount, memory.DisposedCount), Is.EqualTo((2, 2)));
    }

    [Test]
    public void Long_steps_leave_time_for_several_slices_and_idle_time_looks_for_calls_after_each()
    {
        var memory = new FakeMemory();
        var ceiling = new MemoryCeiling(memory, _time);
        Task<double?> asked = ceiling.Request();
        ceiling.Advance(idle: true, TimeSpan.FromHours(10));
        Assert.That(memory.SliceCount, Is.EqualTo(1));
        ceiling.Advance(idle: false, TimeSpan.FromHours(10));
        Assert.That(asked.Result, Is.EqualTo(1000));
        Assert.That((memory.SliceCount, memory.DisposedCount), Is.EqualTo((3, 1)));
    }

    [Test]
    public void Who_asks_during_the_measurement_of_idle_time_gets_its_outcome()
    {
        var memory = new FakeMemory { CacheBytes = 1 };
        var ceiling = new MemoryCeiling(memory, _time);
        ceiling.NoteStep(10);
        ceiling.Advance(idle: true);
        Task<double?> asked = ceiling.Request();
        ceiling.Advance(idle: false);
        ceiling.Advance(idle: false);
        Assert.That(asked.Result, Is.EqualTo(1000));
        Assert.That(memory.StartedCount, Is.EqualTo(1));
    }

    /// <summary>Its buffer may be gigabytes, which a server that is never idle would keep.</summary>
    [Test]
    public void A_measurement_of_idle_time_gives_its_memory_back_where_calls_keep_coming()
    {
        var memory = new FakeMemory { CacheBytes = 1 };
        var ceiling = new MemoryCeiling(memory, _time);
        ceiling.NoteStep(10);
        ceiling.Advance(idle: true);
        _time.Advance(TimeSpan.FromSeconds(10));
        ceiling.Advance(idle: false);
        Assert.That(memory.DisposedCount, Is.Zero);
        _time.Advance(TimeSpan.FromSeconds(1));
        ceiling.Advance(idle: false);
        ceiling.Advance(idle: false);
        Assert.That((memory.DisposedCount, ceiling.HasWork(idle: true)), Is.EqualTo((1, true)));
        for (int slice = 0; slice < memory.Slices; slice++)
        {
            ceiling.Advance(idle: true);
        }

        Assert.That((ceiling.BytesPerSecond, memory.StartedCount, memory.DisposedCount), Is.EqualTo((1000.0, 2, 2)));
    }

    [Test]
    public void Who_asks_for_a_measurement_gets_it_however_long_a_step_takes()
    {
        var memory = new FakeMemory();
        var ceiling = new MemoryCeiling(memory, _time);
        Task<double?> asked = ceiling.Request();
        while (!asked.IsCompleted)
        {
            _time.Advance(TimeSpan.FromMinutes(1));
            ceiling.Advance(idle: false);
        }

        Assert.That((asked.Result, memory.StartedCount), Is.EqualTo((1000.0, 1)));
    }

    [Test]
    public void Without_memory_to_measure_with_there_is_no_share_and_no_second_attempt()
    {
        var memory = new FakeMemory { CacheBytes = 1, Bandwidth = null };
        var ceiling = new MemoryCeiling(memory, _time);
        ceiling.NoteStep(10);
        Task<double?> asked = ceiling.Request();
        ceiling.Advance(idle: true);
        Assert.That(asked.Result, Is.Null);
        Assert.That(ceiling.ShareOf(500, 200), Is.Null);
        ceiling.NoteStep(10);
        Assert.That(ceiling.HasWork(idle: true), Is.False);
    }

    [Test]
    public void Failure_reaches_those_who_asked_and_nobody_else()
    {
        var memory = new FakeMemory { CacheBytes = 1, Failure = new IOException("no") };
        var ceiling = new MemoryCeiling(memory, _time);
        ceiling.NoteStep(10);
        Assert.That(() => ceiling.Advance(idle: true), Throws.Nothing);
        Task<double?> asked = ceiling.Request();
        ceiling.Advance(idle: true);
        Assert.That(async () => await asked, Throws.TypeOf<IOException>());
        Assert.That(memory.DisposedCount, Is.EqualTo(2));
    }

    [Test]
    public void Its_end_fails_those_who_wait_and_refuses_others()
    {
        var memory = new FakeMemory();
        var ceiling = new MemoryCeiling(memory, _time);
        Task<double?> asked = ceiling.Request();
        ceiling.Advance(idle: true);
        ceiling.End(new ObjectDisposedException("model"));
        Assert.That(async () => await asked, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(memory.DisposedCount, Is.EqualTo(1));
        Assert.That(ceiling.Request, Throws.TypeOf<ObjectDisposedException>());
    }

    private static void Measure(MemoryCeiling ceiling)
    {
        _ = ceiling.Request();
        while (ceiling.HasWork(idle: true))
        {
            ceiling.Advance(idle: true);
        }
    }
}
