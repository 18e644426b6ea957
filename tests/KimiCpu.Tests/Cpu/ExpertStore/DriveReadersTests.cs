// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore;

/// <summary>The order of reads on each drive, and that no drive waits for another one.</summary>
[TestFixture]
internal sealed unsafe class DriveReadersTests
{
    private const int ExpertBytes = 6 * 4096;
    private const int Piece = 4096;
    private const int Experts = 40;

    private readonly ConcurrentQueue<ExpertRead> _finished = new();

    [SetUp]
    public void Clear() => _finished.Clear();

    [Test]
    public void Every_piece_is_read_once_into_its_place_even_when_it_becomes_urgent()
    {
        using var files = new Files(1);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        using (var readers = new DriveReaders(files.Places, 3, _finished.Enqueue))
        {
            ExpertRead[] reads = [.. Enumerable.Range(0, Experts).Select(e => Read(files, e, memory, ReadUrgency.Warming))];
            Array.ForEach(reads, readers.Start);
            Array.ForEach(reads, r => readers.Hurry(r, ReadUrgency.Needed));
            Array.ForEach(reads, r => readers.Hurry(r, ReadUrgency.Expected));
            WaitFor(Experts);
            Assert.That(readers.BytesRead, Is.EqualTo(Experts * ExpertBytes));
        }

        Assert.That(files.Order, Has.Count.EqualTo(Experts * ExpertBytes / Piece).And.Unique);
        for (int expert = 0; expert < Experts; expert++)
        {
            Assert.That(new ReadOnlySpan<byte>(memory.Pointer + (expert * ExpertBytes), ExpertBytes).IndexOfAnyExcept((byte)(expert + 1)), Is.EqualTo(-1));
        }
    }

    [Test]
    public void What_a_step_needs_overtakes_what_it_may_need()
    {
        using var files = new Files(1);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[0].Reset();
        using var readers = new DriveReaders(files.Places, 1, _finished.Enqueue);
        readers.Start(Read(files, 0, memory, ReadUrgency.Warming));
        Assert.That(() => files.Order.Count, Is.EqualTo(1).After(10_000, 5));
        readers.Start(Read(files, 1, memory, ReadUrgency.Expected));
        readers.Start(Read(files, 2, memory, ReadUrgency.Needed));
        ExpertRead hurried = Read(files, 3, memory, ReadUrgency.Warming);
        readers.Start(hurried);
        readers.Hurry(hurried, ReadUrgency.Needed);
        files.Gates[0].Set();
        WaitFor(4);
        Assert.That(_finished.Select(r => r.Expert), Is.EqualTo(new[] { 2, 3, 1, 0 }));
    }

    [Test]
    public void A_drive_that_is_silent_holds_no_other_up()
    {
        using var files = new Files(2);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[0].Reset();
        using var readers = new DriveReaders(files.Places, 2, _finished.Enqueue);
        for (int expert = 0; expert < Experts; expert++)
        {
            readers.Start(Read(files, expert, memory, ReadUrgency.Needed));
        }

        // Experts lie on the drives in turn.
        WaitFor(Experts / 2);
        Assert.That(_finished.Select(r => r.Expert % 2), Has.All.EqualTo(1));
        files.Gates[0].Set();
        WaitFor(Experts);
    }

    [Test]
    public void What_nobody_wants_any_more_is_given_up_unless_most_of_it_has_begun()
    {
        using var files = new Files(1);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[0].Reset();
        using var readers = new DriveReaders(files.Places, 4, _finished.Enqueue);
        ExpertRead begun = Read(files, 0, memory, ReadUrgency.Expected);
        ExpertRead waiting = Read(files, 1, memory, ReadUrgency.Expected);
        readers.Start(begun);
        Assert.That(() => files.Order.Count, Is.EqualTo(4).After(10_000, 5));
        readers.Start(waiting);
        Assert.That(readers.TryAbandon(begun), Is.False);
        Assert.That(begun.IsAbandoned, Is.False, "four of its six pieces are on their way");
        Assert.That(readers.TryAbandon(waiting));
        readers.Start(Read(files, 2, memory, ReadUrgency.Expected));
        files.Gates[0].Set();
        WaitFor(2);
        Assert.That(_finished.Select(r => r.Expert), Is.EquivalentTo(new[] { 0, 2 }));
        Assert.That(files.Order, Has.Count.EqualTo(12), "nothing of the one that was given up");
    }

    [Test]
    public void Pieces_in_flight_come_in_before_a_read_that_was_given_up_is_reported()
    {
        using var files = new Files(1);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[0].Reset();
        using var readers = new DriveReaders(files.Places, 2, _finished.Enqueue);
        ExpertRead read = Read(files, 0, memory, ReadUrgency.Expected);
        readers.Start(read);
        Assert.That(() => files.Order.Count, Is.EqualTo(2).After(10_000, 5));
        Assert.That(readers.TryAbandon(read), Is.False);
        Assert.That(read.IsAbandoned);
        Assert.That(_finished, Is.Empty);
        files.Gates[0].Set();
        WaitFor(1);
        Assert.That(files.Order, Has.Count.EqualTo(2));
    }

    [Test]
    public void An_error_names_the_tensor_and_leaves_the_rest_of_the_expert_unread()
    {
        using var files = new Files(1) { FailsAt = 4096 };
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        using var readers = new DriveReaders(files.Places, 1, _finished.Enqueue);
        readers.Start(Read(files, 0, memory, ReadUrgency.Needed));
        readers.Start(Read(files, 1, memory, ReadUrgency.Needed));
        WaitFor(2);
        Assert.That(_finished.Select(r => r.Error?.Message), Is.EqualTo(new[] { "file 0, layer 0 expert 0 part 1, byte 4096: broken", null }));
        Assert.That(files.Order.Count(o => o < ExpertBytes), Is.EqualTo(2));
    }

    [Test]
    public void A_thread_that_cannot_be_started_leaves_no_others_behind()
    {
        using var files = new Files(2);
        var started = new List<Thread>();
        void Start(Thread thread)
        {
            if (started.Count == 3)
            {
                throw new IOException("no thread is left");
            }

            thread.Start();
            started.Add(thread);
        }

        Assert.That(() => new DriveReaders(files.Places, 2, _finished.Enqueue, Start), Throws.TypeOf<IOException>());
        Assert.That(started.Select(t => t.IsAlive), Is.EqualTo(new[] { false, false, false }));
    }

    /// <summary>Only then may the slots' memory go: a drive that is silent for longer than anybody waits answers in the end.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void What_is_to_be_done_at_the_end_is_done_by_the_last_thread_or_at_once()
    {
        using var files = new Files(2);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[0].Reset();
        var readers = new DriveReaders(files.Places, 1, _finished.Enqueue);
        ExpertRead read = Read(files, 0, memory, ReadUrgency.Needed);
        ExpertRead waiting = Read(files, 2, memory, ReadUrgency.Needed);
        readers.Start(read);
        Assert.That(() => files.Order.Count, Is.EqualTo(1).After(10_000, 5));
        readers.Start(waiting);
        Assert.That(readers.Stop(), Is.False);
        int ended = 0;
        readers.AtEnd(() => Interlocked.Increment(ref ended));
        Assert.That((Volatile.Read(ref ended), readers.IsInFlight(read), readers.IsInFlight(waiting)), Is.EqualTo((0, true, false)));
        files.Gates[0].Set();
        Assert.That(() => Volatile.Read(ref ended), Is.EqualTo(1).After(20_000, 5));
        Assert.That(readers.IsInFlight(read), Is.False);
        Assert.That(files.Order, Has.Count.EqualTo(1), "no further piece");
        Assert.That(readers.Stop());
        readers.AtEnd(() => Interlocked.Increment(ref ended));
        Assert.That(ended, Is.EqualTo(2));
    }

    /// <summary>Else a drive that is silent would never be noticed while another one reads, or one that reads would be taken for silent.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Progress_is_that_of_the_drive_that_a_read_waits_for()
    {
        using var files = new Files(2);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[0].Reset();
        using var readers = new DriveReaders(files.Places, 1, _finished.Enqueue);
        long opened = Stopwatch.GetTimestamp();
        ExpertRead silent = Read(files, 0, memory, ReadUrgency.Needed);
        ExpertRead answered = Read(files, 1, memory, ReadUrgency.Needed);
        readers.Start(silent);
        Thread.Sleep(200);
        long begun = Stopwatch.GetTimestamp();
        readers.Start(answered);
        WaitFor(1);
        TimeSpan sinceAnswer = readers.SinceProgress(answered);
        TimeSpan sinceBegun = Stopwatch.GetElapsedTime(begun);
        TimeSpan sinceOpened = Stopwatch.GetElapsedTime(opened);
        TimeSpan sinceSilence = readers.SinceProgress(silent);
        string stalled = readers.Stalled(silent, sinceSilence).Message;
        files.Gates[0].Set();
        WaitFor(2);
        Assert.That(sinceAnswer, Is.LessThanOrEqualTo(sinceBegun));
        Assert.That(sinceSilence, Is.GreaterThanOrEqualTo(sinceOpened));
        Assert.That(stalled, Does.StartWith("file 0, layer 0 expert 0 part 0").And.Contain("not answered"));
    }

    [Test]
    [CancelAfter(60_000)]
    public void Of_an_expert_on_two_drives_the_one_that_has_not_answered_counts()
    {
        using var files = new Files(2, splits: true);
        using var memory = new AlignedBuffer<byte>(Experts * ExpertBytes);
        files.Gates[1].Reset();
        using var readers = new DriveReaders(files.Places, 1, _finished.Enqueue);
        long opened = Stopwatch.GetTimestamp();
        Thread.Sleep(200);
        ExpertRead read = Read(files, 0, memory, ReadUrgency.Needed);
        readers.Start(read);
        Assert.That(SpinWait.SpinUntil(() => read.Pending.File == 1, 20_000));
        TimeSpan sinceOpened = Stopwatch.GetElapsedTime(opened);
        TimeSpan since = readers.SinceProgress(read);
        string stalled = readers.Stalled(read, since).Message;
        files.Gates[1].Set();
        WaitFor(1);
        Assert.That(stalled, Does.StartWith("file 1, layer 0 expert 0 part 1"));
        Assert.That(since, Is.GreaterThanOrEqualTo(sinceOpened));
    }

    private static ExpertRead Read(Files files, int expert, AlignedBuffer<byte> memory, ReadUrgency urgency) =>
        new(0, expert, expert, memory.Pointer + (expert * ExpertBytes), new ExpertLayout(files.Places.Of(0, expert)), Piece, urgency);

    private void WaitFor(int count) => Assert.That(() => _finished.Count, Is.EqualTo(count).After(20_000, 5));

    /// <summary>Experts of six parts of a page each, on the drives in turn; the bytes of an expert are its number + 1.</summary>
    private sealed class Files : IWeightFiles
    {
        private readonly int _drives;

        /// <param name="drives">How many.</param>
        /// <param name="splits">Whether not experts but their parts lie on the drives in turn.</param>
        public Files(int drives, bool splits = false)
        {
            _drives = drives;
            Gates = [.. Enumerable.Range(0, drives).Select(_ => new ManualResetEventSlim(true))];
            TensorPlace[] places =
            [
                .. Enumerable.Range(0, Experts).SelectMany(e => Enumerable.Range(0, ExpertFiles.Parts).Select(p => new TensorPlace((splits ? p : e) % drives, (e * (long)ExpertBytes) + (p * 4096), 4096))),
            ];
            Places = new ExpertFiles(this, [places], (layer, expert, part) => $"layer {layer} expert {expert} part {part}");
        }

        public ManualResetEventSlim[] Gates { get; }

        public ConcurrentQueue<long> Order { get; } = new();

        public long FailsAt { get; init; } = -1;

        public ExpertFiles Places { get; }

        public int Count => _drives;

        public int DriveOf(int file) => file;

        public void Read(int file, long offset, byte* target, int count)
        {
            Order.Enqueue(offset);
            Gates[file].Wait();
            if (offset == FailsAt)
            {
                throw new IOException("broken");
            }

            new Span<byte>(target, count).Fill((byte)((offset / ExpertBytes) + 1));
        }

        public Exception Failure(int file, string tensor, long offset, string problem, Exception? cause) => new IOException($"file {file}, {tensor}, byte {offset}: {problem}", cause);

        public void Dispose() => Array.ForEach(Gates, g => g.Set());
    }
}
