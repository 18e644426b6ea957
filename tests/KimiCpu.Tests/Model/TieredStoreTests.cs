// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Tests.Cpu.ExpertStore;
using KimiCpu.Tests.Cpu.Memory;

namespace KimiCpu.Tests.Model;

/// <summary>The store's calls in the order in which layers make them, with drives that answer late: which slots are held for whom.</summary>
[TestFixture]
internal sealed unsafe class TieredStoreTests
{
    private static readonly string s_nano = Path.Combine(Repository.Root, "models", "kimi-nano");
    private static readonly Lazy<long> s_slotBytes = new(() =>
    {
        using var model = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: long.MaxValue);
        return model.Store.SlotBytes;
    });

    private FaultyFiles _files = null!;

    [Test]
    public void The_last_slot_is_for_the_first_wave_even_where_the_second_one_s_expert_is_on_its_way_to_it()
    {
        using ModelUnderTest tiered = Open(1);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        _files.Stall();
        store.Warm([experts + 1]);
        AssertFirstWaveArrives(store, 1, 2, experts);
    }

    [Test]
    public void The_second_wave_holds_nothing_while_the_first_one_waits_for_slots()
    {
        using ModelUnderTest tiered = Open(8);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        int[] moe = [.. Enumerable.Range(0, tiered.Weights.Layers.Length).Where(l => tiered.Weights.Layers[l].IsMoe)];
        store.Warm(Enumerable.Range(moe[0] * experts, 4));
        Assert.That(() => store.DriveBytesRead, Is.GreaterThanOrEqualTo(4 * ExpertBytes(tiered)).After(20_000, 20));
        _files.Stall();
        store.Warm(Enumerable.Range((moe[1] * experts) + 4, 4));
        store.Begin(moe[0], [0, 1, 2]);
        store.Request(0, store.WaveEnd(0));
        store.Expect(moe[1], [20, 21]);
        Assert.That(ReceiveAll(store, 0, 3, experts), Is.EqualTo(3));
        store.Release(0, 3);
        store.End();
        AssertFirstWaveArrives(store, moe[1], 12, experts);
    }

    /// <summary>A slot that is free takes no memory until it is filled, so what there is may be promised once only.</summary>
    [Test]
    public void Memory_that_came_free_is_promised_to_as_many_slots_as_it_holds()
    {
        long available = long.MaxValue;
        long reserve = 100 * s_slotBytes.Value;
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(reserve, () => Volatile.Read(ref available)));
        tiered.Logits([.. Enumerable.Range(0, 13).Select(i => i * 37)]);
        Volatile.Write(ref available, 0);
        Assert.That(() => tiered.Store.RetiredSlots, Is.EqualTo(39).After(20_000, 50));
        Volatile.Write(ref available, (2 * reserve) + (2 * s_slotBytes.Value));
        Assert.That(() => tiered.Store.RetiredSlots, Is.EqualTo(37).After(20_000, 50));
        Thread.Sleep(3000);
        Assert.That(tiered.Store.RetiredSlots, Is.EqualTo(37));
    }

    [Test]
    public void Slots_that_are_given_up_leave_their_memory_to_the_system()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Only Linux says what is in pages that were given back.");
        }

        using ModelUnderTest tiered = Open(6);
        TieredExpertStore store = tiered.Store;
        nint[] data = Fill(store, 6, tiered.Weights.Shape.ExpertCount);
        Assert.That(data.Count(IsFilled), Is.EqualTo(6));
        store.Limit(2 * s_slotBytes.Value);
        Assert.That(data.Count(IsFilled), Is.EqualTo(2));
    }

    /// <summary>Whoever opens the model again, as a server does, needs it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_store_that_a_silent_drive_outlives_leaves_its_memory_to_the_system()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Only Linux says what is in pages that were given back.");
        }

        using ModelUnderTest tiered = Open(6);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        nint[] data = Fill(store, 5, experts);
        int reads = _files.Reads;
        _files.Stall();
        store.Warm([2 * experts]);
        Assert.That(() => _files.Reads, Is.GreaterThan(reads).After(20_000, 5));
        store.Dispose();
        Assert.That(data.Count(IsFilled), Is.Zero);
        _files.Resume();
    }

    /// <summary>Free slots have no memory to give, so the memory of those that are filled has to go at once, before the system ends somebody.</summary>
    [Test]
    public void What_the_system_needs_comes_from_slots_that_are_filled()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Only Linux says what is in pages that were given back.");
        }

        // The reading stays the same until the test says otherwise, so that it counts once.
        long slot = s_slotBytes.Value;
        long free = 1000 * slot;
        long collection = 1;
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(8 * slot, () => (Volatile.Read(ref free), Volatile.Read(ref collection))));
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        nint[] data = Fill(store, 10, experts);
        Assert.That(data.Count(IsFilled), Is.EqualTo(10));
        Volatile.Write(ref free, 3 * slot);
        Volatile.Write(ref collection, 2);
        Assert.That(() => data.Count(IsFilled), Is.LessThanOrEqualTo(5).After(20_000, 50));
        Assert.That(() => store.RetiredSlots, Is.EqualTo(35).After(20_000, 50), "the free ones, too, which would take memory that is not there");
        Thread.Sleep(1500);
        Assert.That(store.RetiredSlots, Is.EqualTo(35), "once");
        Volatile.Write(ref free, 1000 * slot);
        Volatile.Write(ref collection, 3);
        Assert.That(() => store.RetiredSlots, Is.Zero.After(20_000, 50));
    }

    [Test]
    public void Warming_puts_nothing_in_the_place_of_what_is_there()
    {
        using ModelUnderTest tiered = Open(4);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        store.Begin(1, [0, 1, 2, 3]);
        store.Request(0, 4);
        Assert.That(ReceiveAll(store, 0, 4, experts), Is.EqualTo(4));
        store.Release(0, 4);
        store.End();
        int reads = _files.Reads;
        store.Warm(Enumerable.Range(2 * experts, 4));
        store.Begin(1, [0, 1, 2, 3]);
        store.Request(0, 4);
        Assert.That(ReceiveAll(store, 0, 4, experts), Is.EqualTo(4));
        store.End();
        Assert.That(_files.Reads, Is.EqualTo(reads));
    }

    /// <summary>Memory that others have taken since the model was opened, or that was never there: a layer of a prompt needs more than what is left at the last look.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Slots_that_are_free_take_no_more_than_there_is_between_two_looks([Values] bool warmed)
    {
        long slot = s_slotBytes.Value;
        var filled = new System.Collections.Concurrent.ConcurrentDictionary<int, bool>();
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(8 * slot, () => (12 - filled.Count) * slot));
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        store.Readers.PieceDone = (read, _, _, _) => filled[read.Slot] = true;
        if (warmed)
        {
            store.Warm(Enumerable.Range(experts, 40));
            Assert.That(() => filled, Has.Count.GreaterThanOrEqualTo(4).After(20_000, 20));
            Thread.Sleep(1500);
        }
        else
        {
            store.Begin(1, [.. Enumerable.Range(0, experts)]);
            for (int first = 0; first < experts;)
            {
                int end = store.WaveEnd(first);
                store.Request(first, end);
                Assert.That(ReceiveAll(store, first, end, experts), Is.EqualTo(end - first));
                store.Release(first, end);
                first = end;
            }

            store.End();
        }

        // Fewer where a look comes upon slots that are being filled.
        Assert.That(filled, Has.Count.InRange(4, 8), "half of the reserve is left");
    }

    /// <summary>Slots that wait for the drive to have time have taken no memory, and never will when there is none.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void What_is_still_to_be_warmed_gives_its_slots_up_when_memory_is_gone([Values] bool limited)
    {
        long slot = s_slotBytes.Value;
        long free = 1000 * slot;
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(8 * slot, () => Volatile.Read(ref free)), readsOfDrive: 1);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        _files.Stall();
        store.Warm(Enumerable.Range(experts, 40));
        if (limited)
        {
            store.Limit(2 * slot);
        }
        else
        {
            Volatile.Write(ref free, 3 * slot);
        }

        Assert.That(() => store.RetiredSlots, Is.GreaterThanOrEqualTo(35).After(20_000, 20));
        _files.Resume();
        Assert.That(() => store.Readers.BytesRead, Is.GreaterThan(0).After(20_000, 20));
        Assert.That(store.DriveBytesRead, Is.LessThan(6 * slot));
    }

    /// <summary>A shortage that lasts a moment, somebody's compiler, say, must not leave a start half done.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void What_was_to_be_warmed_is_warmed_when_memory_is_back([Values] bool fill)
    {
        long slot = s_slotBytes.Value;
        long free = 1000 * slot;
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(8 * slot, () => Volatile.Read(ref free)), readsOfDrive: 1, patience: TimeSpan.FromSeconds(60));
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        int reads = _files.Reads;
        _files.Stall();
        Task filling = fill ? Task.Run(() => store.Fill(_ => false, null)) : Task.CompletedTask;
        if (!fill)
        {
            store.Warm(Enumerable.Range(experts, 40));
        }

        Assert.That(() => _files.Reads, Is.GreaterThan(reads).After(20_000, 5));
        Volatile.Write(ref free, 3 * slot);
        Assert.That(() => store.RetiredSlots, Is.GreaterThanOrEqualTo(35).After(20_000, 20));
        _files.Resume();
        Assert.That(filling.Wait(TimeSpan.FromSeconds(20)));
        Assert.That(store.DriveBytesRead, Is.LessThan(6 * slot));
        Volatile.Write(ref free, 1000 * slot);
        Assert.That(() => store.DriveBytesRead, Is.GreaterThanOrEqualTo(40 * ExpertBytes(tiered)).After(20_000, 20));
        Assert.That(store.RetiredSlots, Is.Zero);
    }

    /// <summary>A share that answers nothing but errors for a minute would use up the list of a start, the hottest first.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void What_was_to_be_warmed_is_warmed_when_the_drive_answers_again()
    {
        long slot = s_slotBytes.Value;
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(8 * slot, () => 1000 * slot), readsOfDrive: 1);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        int reads = _files.Reads;
        _files.Error = new IOException("The share is away.");
        _files.GoodReads = 0;
        store.Warm(Enumerable.Range(experts, 40));
        Assert.That(() => _files.Reads, Is.GreaterThan(reads + 3).After(20_000, 5));
        _files.Error = null;
        Assert.That(() => store.DriveBytesRead, Is.GreaterThanOrEqualTo(40 * ExpertBytes(tiered)).After(60_000, 20));
    }

    /// <summary>What failed a moment before, for the list of an earlier run, leaves no rest behind that a fill would take for its end.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void Filling_begins_whatever_has_failed_before([Values] bool stillFails)
    {
        long slot = s_slotBytes.Value;
        using ModelUnderTest tiered = Open(40, MadeUpMemory.Keeper(8 * slot, () => 1000 * slot), readsOfDrive: 1);
        TieredExpertStore store = tiered.Store;
        int reads = _files.Reads;
        _files.Error = new IOException("The share is away.");
        _files.GoodReads = 0;
        store.Warm(Enumerable.Range(tiered.Weights.Shape.ExpertCount, 40));
        Assert.That(() => _files.Reads, Is.GreaterThan(reads + 3).After(20_000, 5));
        Thread.Sleep(1500);
        _files.Error = stillFails ? _files.Error : null;
        if (stillFails)
        {
            Assert.That(() => store.Fill(_ => false, null), Throws.Exception);
        }
        else
        {
            store.Fill(_ => false, null);
            Assert.That(store.DriveBytesRead, Is.GreaterThanOrEqualTo(40 * ExpertBytes(tiered)));
        }
    }

    [Test]
    [CancelAfter(60_000)]
    public void What_a_step_needs_and_expects_has_slots_and_goes_before_what_is_warmed()
    {
        using ModelUnderTest tiered = Open(8, readsOfDrive: 1, pieceBytes: IWeightFiles.Alignment);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        var pieces = new System.Collections.Concurrent.ConcurrentQueue<int>();
        store.Readers.PieceDone = (read, _, _, _) => pieces.Enqueue((read.Layer * experts) + read.Expert);
        int before = _files.Reads;
        _files.Stall();
        store.Warm(Enumerable.Range(2 * experts, 8));
        Assert.That(() => _files.Reads, Is.EqualTo(before + 1).After(20_000, 5));
        store.Begin(1, [0]);
        store.Request(0, 1);

        // A new guess, and one that waits to be warmed behind another.
        store.Expect(3, [5]);
        store.Expect(2, [1]);
        _files.Resume();
        Assert.That(ReceiveAll(store, 0, 1, experts), Is.EqualTo(1));
        store.Release(0, 1);
        store.End();
        int needed = experts, guess = (3 * experts) + 5, hurried = (2 * experts) + 1, first = 2 * experts;
        int[] kept = [needed, first, hurried, guess, .. Enumerable.Range((2 * experts) + 2, 4)];
        Assert.That(() => pieces.Distinct(), Is.EquivalentTo(kept).After(20_000, 20), "each read once, and nothing that has no slot");
        Assert.That(pieces.Skip(1).Distinct().Take(4), Is.EqualTo(new[] { needed, guess, hurried, first }));
    }

    /// <summary>The first guess is missing, and the second one has the slot that is the next to be emptied.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_guess_takes_no_slot_of_another_one()
    {
        using ModelUnderTest tiered = Open(4);
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        foreach ((int layer, int expert) in new[] { (2, 0), (1, 5), (2, 1), (2, 2) })
        {
            store.Begin(layer, [expert]);
            store.Request(0, 1);
            Assert.That(ReceiveAll(store, 0, 1, experts), Is.EqualTo(1));
            store.Release(0, 1);
            store.End();
        }

        var read = new System.Collections.Concurrent.ConcurrentQueue<int>();
        store.Readers.PieceDone = (piece, _, _, _) => read.Enqueue(piece.Expert);
        store.Begin(1, [5]);
        store.Request(0, 1);
        store.Expect(2, [9, 0]);
        Assert.That(ReceiveAll(store, 0, 1, experts), Is.EqualTo(1));
        store.End();
        store.Begin(2, [0, 9]);
        store.Request(0, 2);
        Assert.That(ReceiveAll(store, 0, 2, experts), Is.EqualTo(2));
        store.End();
        Assert.That(read.Distinct(), Is.EqualTo(new[] { 9 }));
    }

    /// <summary>A chat whose user thinks for longer than a drive may take.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_pause_between_steps_is_no_silence()
    {
        using ModelUnderTest tiered = Open(1, patience: TimeSpan.FromSeconds(2));
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        _ = Fill(store, 1, experts);
        Thread.Sleep(2500);
        _files.Stall();
        store.Begin(1, [1]);
        store.Request(0, 1);
        var answer = new Thread(() =>
        {
            Thread.Sleep(200);
            _files.Resume();
        });
        answer.Start();
        Assert.That(ReceiveAll(store, 0, 1, experts), Is.EqualTo(1));
        answer.Join();
        store.End();
    }

    /// <summary>A share, or a drive with many reads before this one: piece by piece it answers.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_slow_drive_is_not_a_silent_one()
    {
        using ModelUnderTest tiered = Open(1, readsOfDrive: 1, pieceBytes: IWeightFiles.Alignment, patience: TimeSpan.FromSeconds(2));
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        int pieces = 0;
        store.Readers.PieceDone = (read, _, _, _) =>
        {
            pieces = read.Pieces.Count;
            Thread.Sleep(3000 / pieces);
        };
        store.Begin(1, [0]);
        store.Request(0, 1);
        Assert.That(ReceiveAll(store, 0, 1, experts), Is.EqualTo(1));
        Assert.That(pieces, Is.GreaterThan(5), "no pause is as long as what would be silence");
        store.End();
    }

    /// <summary>A share that was away for a moment: the next message need not hear of it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void What_fails_late_is_not_the_next_step_s_failure()
    {
        using ModelUnderTest tiered = Open(1, readsOfDrive: 1, patience: TimeSpan.FromSeconds(1));
        TieredExpertStore store = tiered.Store;
        int experts = tiered.Weights.Shape.ExpertCount;
        _files.Stall();
        store.Begin(1, [0]);
        store.Request(0, 1);
        Assert.That(() => ReceiveAll(store, 0, 1, experts), Throws.TypeOf<CheckpointException>().With.Message.Contains("not answered"));
        store.End();

        // The read is still on its way, is the next step's too, and fails then.
        _files.Error = new IOException("late");
        _files.GoodReads = 0;
        int failures = 0;
        store.Readers.PieceDone = (_, _, _, _) =>
        {
            failures += _files.Error is null ? 0 : 1;
            _files.Error = null;
        };
        store.Begin(1, [0]);
        store.Request(0, 1);
        Assert.That(store.Counters.Late, Is.EqualTo(1));
        _files.Resume();
        Assert.That(ReceiveAll(store, 0, 1, experts), Is.EqualTo(1));
        Assert.That(failures, Is.EqualTo(1));
        store.End();
    }

    /// <summary>Few slots, drives that answer late or fail, guesses, right and wrong, and experts that are brought in ahead: the mapping's bits, or the drive's error.</summary>
    [Test]
    public void Whatever_drives_and_guesses_do_a_step_ends_as_it_should([Range(1, 24)] int seed)
    {
        var random = new Random(seed);
        int[] tokens = [.. Enumerable.Range(0, 24).Select(_ => random.Next(500))];
        using var mapped = new ModelUnderTest(s_nano, Backend.CpuFast, threads: 1);
        float[] expected = mapped.Logits(tokens, 7, 1);
        MoodyFiles? files = null;
        var options = new TieredStoreOptions
        {
            Bytes = random.Next(1, 12) * s_slotBytes.Value,
            PieceBytes = IWeightFiles.Alignment * random.Next(1, 4),
            ReadsOfDrive = random.Next(1, 9),
            Patience = TimeSpan.FromSeconds(10),
        };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, threads: 1, slotBytes: options.Bytes, store: options, wrap: inner => files = new MoodyFiles(inner, seed) { SlowShare = random.NextDouble() * 0.02 });
        int experts = tiered.Weights.Shape.ExpertCount;
        int layers = tiered.Weights.Layers.Length;
        tiered.Forward.Routed = (_, _) =>
        {
            if (random.Next(2) == 0 && random.Next(1, layers) is int later && tiered.Weights.Layers[later].IsMoe)
            {
                tiered.Store.Expect(later, [.. Enumerable.Range(0, random.Next(1, 12)).Select(_ => random.Next(experts))]);
            }

            if (random.Next(20) == 0)
            {
                tiered.Store.Warm(Enumerable.Range(0, 30).Select(_ => random.Next(experts, layers * experts)));
            }

            files!.FailShare = random.Next(4) == 0 ? random.NextDouble() * 0.0004 : 0;
        };
        for (int i = 0; i < 3; i++)
        {
            try
            {
                Assert.That(tiered.Logits(tokens, 7, 1), Is.EqualTo(expected));
            }
            catch (CheckpointException e)
            {
                Assert.That(e.Message, Does.Contain(MoodyFiles.Problem));
            }
        }

        tiered.Forward.Routed = null;
        files!.FailShare = 0;
        Assert.That(tiered.Logits(tokens, 7, 1), Is.EqualTo(expected));
    }

    /// <returns>Where the first experts of layer 1 lie now.</returns>
    private static nint[] Fill(TieredExpertStore store, int count, int experts)
    {
        store.Begin(1, [.. Enumerable.Range(0, count)]);
        store.Request(0, count);
        Assert.That(ReceiveAll(store, 0, count, experts), Is.EqualTo(count));
        nint[] data = [.. Enumerable.Range(0, count).Select(place => (nint)store[place].Gate.Data)];
        store.Release(0, count);
        store.End();
        return data;
    }

    private static bool IsFilled(nint data) => new ReadOnlySpan<byte>((void*)data, 1024).IndexOfAnyExcept((byte)0) >= 0;

    private static int ReceiveAll(TieredExpertStore store, int first, int end, int experts)
    {
        var ready = new int[experts];
        int received = 0;
        while (received < end - first)
        {
            received += store.Receive(first, end, ready);
        }

        return received;
    }

    private static long ExpertBytes(ModelUnderTest model) => model.Weights.Layers[^1].Experts[0].TotalBytes;

    /// <summary>Of a layer that wants its first experts in two waves or more, while the drive has stalled.</summary>
    private void AssertFirstWaveArrives(TieredExpertStore store, int layer, int wanted, int experts)
    {
        store.Begin(layer, [.. Enumerable.Range(0, wanted)]);
        int end = store.WaveEnd(0);
        Assert.That(end, Is.LessThan(wanted));
        store.Request(0, end);
        store.Request(end, store.WaveEnd(end));
        _files.Resume();
        Assert.That(ReceiveAll(store, 0, end, experts), Is.EqualTo(end));
        store.End();
    }

    private ModelUnderTest Open(int slots, MemoryKeeper? keeper = null, int readsOfDrive = 8, int pieceBytes = 4 << 20, TimeSpan? patience = null)
    {
        var options = new TieredStoreOptions { Bytes = slots * s_slotBytes.Value, Patience = patience ?? TimeSpan.FromSeconds(5), Keeper = keeper, ReadsOfDrive = readsOfDrive, PieceBytes = pieceBytes };
        return new ModelUnderTest(s_nano, Backend.CpuFast, threads: 1, slotBytes: options.Bytes, store: options, wrap: inner => _files = new FaultyFiles(inner));
    }

    /// <summary>Drives that fail and take their time at random.</summary>
    private sealed class MoodyFiles(IWeightFiles inner, int seed) : IWeightFiles
    {
        public const string Problem = "the drive is in a mood";

        private readonly Random _random = new(seed);

        public double FailShare { get; set; }

        public double SlowShare { get; set; }

        public int Count => inner.Count;

        public int DriveOf(int file) => seed % 2 == 0 ? 0 : file % 2;

        public void Read(int file, long offset, byte* target, int count)
        {
            double fails;
            double waits;
            lock (_random)
            {
                (fails, waits) = (_random.NextDouble(), _random.NextDouble());
            }

            new Span<byte>(target, count).Fill(0xFF);
            if (waits < SlowShare)
            {
                Thread.Sleep(1);
            }

            if (fails < FailShare)
            {
                throw new IOException(Problem);
            }

            inner.Read(file, offset, target, count);
        }

        public Exception Failure(int file, string tensor, long offset, string problem, Exception? cause) => inner.Failure(file, tensor, offset, problem, cause);

        public void Dispose() => inner.Dispose();
    }
}
