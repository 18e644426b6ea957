// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Tests.Cpu.ExpertStore;
using KimiCpu.Tests.Cpu.Memory;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Model;

/// <summary>Whole models whose experts do not fit into memory: the bits of the mapping, whatever the slots, and faults of the drive.</summary>
[TestFixture]
internal sealed class TieredModelTests
{
    private static readonly string s_nano = Path.Combine(Repository.Root, "models", "kimi-nano");

    [Test]
    public void Logits_are_those_of_the_mapping_to_the_bit_with_any_number_of_slots([Values(Backend.CpuFast, Backend.CpuExact, Backend.CpuInt8)] Backend backend, [Values(1, 2)] int threads)
    {
        int[] tokens = Tokens(60);
        using var mapped = new ModelUnderTest(s_nano, backend, threads);
        float[] expected = mapped.Logits(tokens, 33, 1);
        foreach (int slots in new[] { 1, 2, 3, 5, 9, 17, 64, 100_000 })
        {
            using var tiered = new ModelUnderTest(s_nano, backend, threads, slotBytes: slots * SlotBytes);
            Assert.That(tiered.Logits(tokens, 33, 1), Is.EqualTo(expected), $"{slots} slots");
            Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected), $"{slots} slots, token by token");
            Assert.That(tiered.Store.Slots, Is.LessThanOrEqualTo(slots));
        }
    }

    /// <summary>What a GPU holds is in no slot; look-ahead must not bring it in either.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Logits_are_those_of_the_mapping_to_the_bit_beside_a_GPU([Values] bool lookAhead)
    {
        using var checkpoint = new SyntheticModel();
        int[] tokens = Tokens(12);
        using var mapped = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 2, lookAhead: lookAhead);
        float[] expected = mapped.Logits(tokens, 9, 1);
        long slot = SlotBytesOf(checkpoint.Folder);
        foreach (int slots in new[] { 1, 3, 100_000 })
        {
            using var tiered = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 2, slotBytes: slots * slot, lookAhead: lookAhead);
            Assert.That(tiered.Logits(tokens, 9, 1), Is.EqualTo(expected), $"{slots} slots");
            Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected), $"{slots} slots, token by token");
            Assert.That(tiered.Store.Slots, Is.LessThanOrEqualTo(slots));
        }
    }

    /// <summary>The GPU has begun a layer whose sum never comes.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_failed_read_beside_a_GPU_fails_the_step_by_name_and_the_next_one_works()
    {
        using var checkpoint = new SyntheticModel();
        int[] tokens = Tokens(6);
        using var mapped = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 2);
        float[] expected = mapped.Logits(tokens, 1);
        FaultyFiles? files = null;
        using var tiered = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 2, slotBytes: SlotBytesOf(checkpoint.Folder), wrap: inner => files = new FaultyFiles(inner));
        foreach (int failing in new[] { 1, 2 })
        {
            foreach (int chunk in new[] { 1, tokens.Length })
            {
                tiered.Forward.Routed = (layer, _) => files!.Error = layer == failing ? new IOException("Input/output error") : null;
                CheckpointException error = Assert.Throws<CheckpointException>(() => tiered.Logits(tokens, chunk))!;
                Assert.That(error.Tensor, Does.Contain($"layers.{failing}.mlp.experts."));
                tiered.Forward.Routed = null;
                files!.Error = null;
                Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected), $"after layer {failing}, {chunk} at a time");
            }
        }
    }

    [Test]
    public void Nothing_is_read_twice_where_there_is_a_slot_for_every_expert()
    {
        // Guesses may be given up once and read the next time.
        var options = new TieredStoreOptions { Bytes = long.MaxValue, LookAhead = false };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options);
        int[] tokens = Tokens(40);
        tiered.Logits(tokens);
        long misses = tiered.Store.Counters.Misses;
        long bytes = tiered.Store.Readers.BytesRead;
        tiered.Logits(tokens);
        Assert.That(misses, Is.GreaterThan(0));
        Assert.That(tiered.Store.Counters.Misses, Is.EqualTo(misses));
        Assert.That(tiered.Store.Readers.BytesRead, Is.EqualTo(bytes));
    }

    [Test]
    public void A_prompt_reads_each_expert_once_a_chunk()
    {
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: 4 * SlotBytes);
        int touched = 0;
        tiered.Forward.Routed = (_, rows) => touched += Distinct(rows);
        tiered.Logits(Tokens(128));
        Assert.That(tiered.Store.Counters.Misses + tiered.Store.Counters.Late + tiered.Store.Counters.Hits, Is.EqualTo(touched));
        Assert.That(tiered.Store.DriveBytesRead, Is.Positive.And.LessThanOrEqualTo(touched * SlotBytes));
    }

    [Test]
    public void A_failed_read_fails_the_step_by_name_and_the_next_one_works()
    {
        FaultyFiles? files = null;
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: 12 * SlotBytes, wrap: inner => files = new FaultyFiles(inner));
        int[] tokens = Tokens(20);
        using var mapped = new ModelUnderTest(s_nano, Backend.CpuFast);
        float[] expected = mapped.Logits(tokens, 1);
        files!.Error = new IOException("Input/output error");
        for (int i = 0; i < 3; i++)
        {
            CheckpointException error = Assert.Throws<CheckpointException>(() => tiered.Logits(tokens, 1))!;
            Assert.That(error.File, Does.EndWith(".safetensors"));
            Assert.That(error.Tensor, Does.Contain(".mlp.experts."));
            Assert.That(error.Problem, Does.Contain("byte ").And.Contain("Input/output error"));
        }

        files.Error = null;
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
    }

    [Test]
    public void A_drive_that_does_not_answer_fails_the_step_and_not_those_after_it()
    {
        FaultyFiles? files = null;
        var options = new TieredStoreOptions { Bytes = 12 * SlotBytes, Patience = TimeSpan.FromSeconds(2) };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options, wrap: inner => files = new FaultyFiles(inner));
        int[] tokens = Tokens(20);
        using var mapped = new ModelUnderTest(s_nano, Backend.CpuFast);
        float[] expected = mapped.Logits(tokens, 1);
        files!.Stall();
        for (int i = 0; i < 3; i++)
        {
            CheckpointException error = Assert.Throws<CheckpointException>(() => tiered.Logits(tokens, 1))!;
            Assert.That(error.Message, Does.Contain("not answered").And.Contain(".mlp.experts."));
        }

        files.Resume();
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
    }

    [Test]
    public void Closing_does_not_wait_for_a_drive_that_does_not_answer()
    {
        FaultyFiles? files = null;
        var options = new TieredStoreOptions { Bytes = 12 * SlotBytes, Patience = TimeSpan.FromMilliseconds(100) };
        var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options, wrap: inner => files = new FaultyFiles(inner));
        files!.Stall();
        Assert.That(() => tiered.Logits(Tokens(3), 1), Throws.TypeOf<CheckpointException>());
        Task closing = Task.Run(tiered.Dispose);
        Assert.That(closing.Wait(TimeSpan.FromSeconds(60)), "closed");
    }

    [Test]
    public void A_file_that_is_cut_while_it_is_open_costs_an_exception_and_not_the_process()
    {
        string folder = CopyOfNano();
        try
        {
            using var tiered = new ModelUnderTest(folder, Backend.CpuFast, slotBytes: 9 * SlotBytes);
            int[] tokens = Tokens(10);
            tiered.Logits(tokens, 1);
            foreach (string shard in Directory.GetFiles(folder, "*.safetensors"))
            {
                using var stream = new FileStream(shard, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
                stream.SetLength(stream.Length / 3);
            }

            CheckpointException error = Assert.Throws<CheckpointException>(() => tiered.Logits(Tokens(200), 1))!;
            Assert.That(error.Message, Does.Contain("ends at byte").Or.Contain("was changed"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Files that are open are not deleted there.")]
    public void A_file_that_vanishes_is_still_read()
    {
        string folder = CopyOfNano();
        using var mapped = new ModelUnderTest(s_nano, Backend.CpuFast);
        int[] tokens = Tokens(10);
        using var tiered = new ModelUnderTest(folder, Backend.CpuFast, slotBytes: 9 * SlotBytes);
        Directory.Delete(folder, recursive: true);
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(mapped.Logits(tokens, 1)));
    }

    [Test]
    public void Memory_that_the_system_needs_is_given_back_and_taken_again_without_changing_a_bit()
    {
        long available = 10_000 + (40 * SlotBytes);
        int[] tokens = Tokens(20);
        using var mapped = new ModelUnderTest(s_nano, Backend.CpuFast);
        float[] expected = mapped.Logits(tokens, 1);
        var options = new TieredStoreOptions { Bytes = 40 * SlotBytes, Keeper = MadeUpMemory.Keeper(10_000, () => available) };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options);
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
        Assert.That(tiered.Store.RetiredSlots, Is.Zero);

        available = 10_000 - (100 * SlotBytes);
        WaitUntilAsked();
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
        Assert.That(tiered.Store.RetiredSlots, Is.EqualTo(39), "one always stays");

        available = 20_000 + (20 * SlotBytes);
        WaitUntilAsked();
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
        Assert.That(tiered.Store.RetiredSlots, Is.LessThanOrEqualTo(19));

        static void WaitUntilAsked() => Thread.Sleep(300);
    }

    [Test]
    public void Memory_beyond_a_limit_is_given_back_at_once_and_never_taken_again()
    {
        int[] tokens = Tokens(20);
        var options = new TieredStoreOptions { Bytes = 40 * SlotBytes, Keeper = MadeUpMemory.Keeper(100, () => long.MaxValue) };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options);
        float[] expected = tiered.Logits(tokens, 1);
        tiered.Store.Limit(10 * SlotBytes);
        Assert.That(tiered.Store.RetiredSlots, Is.EqualTo(30));
        Thread.Sleep(300);
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
        Assert.That(tiered.Store.RetiredSlots, Is.EqualTo(30), "the keeper has plenty");
        tiered.Store.Limit(20 * SlotBytes);
        Assert.That(tiered.Store.RetiredSlots, Is.EqualTo(30));
        tiered.Store.Limit(0);
        Assert.That(tiered.Store.RetiredSlots, Is.EqualTo(39), "one always stays");
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
    }

    [Test]
    public void Memory_is_given_back_and_taken_again_while_nothing_runs()
    {
        long available = long.MaxValue;
        var options = new TieredStoreOptions { Bytes = 16 * SlotBytes, Keeper = MadeUpMemory.Keeper(100 * SlotBytes, () => Volatile.Read(ref available)) };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options);
        float[] before = tiered.Logits([5, 9, 100]);
        Volatile.Write(ref available, 0);
        Assert.That(() => tiered.Store.RetiredSlots, Is.EqualTo(15).After(20_000, 50));
        Assert.That(tiered.Logits([5, 9, 100]), Is.EqualTo(before));
        Volatile.Write(ref available, long.MaxValue);
        Assert.That(() => tiered.Store.RetiredSlots, Is.Zero.After(20_000, 50));
    }

    /// <summary>What it throws on a timer's thread would end the process.</summary>
    [Test]
    public void Who_is_told_of_memory_given_back_may_throw()
    {
        long available = long.MaxValue;
        int told = 0;
        var options = new TieredStoreOptions
        {
            Bytes = 16 * SlotBytes,
            Keeper = MadeUpMemory.Keeper(100 * SlotBytes, () => Volatile.Read(ref available)),
            CapacityChanged = (_, _) => throw new IOException($"the log is full, told {Interlocked.Increment(ref told)} times"),
        };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options);
        float[] before = tiered.Logits([5, 9, 100]);
        Volatile.Write(ref available, 0);
        Assert.That(() => tiered.Store.RetiredSlots, Is.EqualTo(15).After(20_000, 50));
        Assert.That(tiered.Logits([5, 9, 100]), Is.EqualTo(before));
        Assert.That(Volatile.Read(ref told), Is.Positive);
    }

    [Test]
    public void Guesses_of_a_step_that_failed_hold_no_slot_of_the_next()
    {
        long available = long.MaxValue;
        var options = new TieredStoreOptions { Bytes = 16 * SlotBytes, Keeper = MadeUpMemory.Keeper(100 * SlotBytes, () => available), Patience = TimeSpan.FromSeconds(5) };
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: options.Bytes, store: options);
        TieredExpertStore store = tiered.Store;
        int[] moe = [.. Enumerable.Range(0, tiered.Weights.Layers.Length).Where(l => tiered.Weights.Layers[l].IsMoe)];
        var ready = new int[tiered.Weights.Shape.ExpertCount];
        store.Begin(moe[0], [0, 1, 2, 3]);
        store.Request(0, store.WaveEnd(0));
        store.Expect(moe[1], [0, 1, 2, 3, 4, 5, 6, 7]);
        while (store.Receive(0, 4, ready) > 0)
        {
        }

        store.End();
        available = 0;
        Thread.Sleep(300);
        int[] next = [.. Enumerable.Range(8, 12)];
        store.Begin(moe[0], next);
        int end = store.WaveEnd(0);
        store.Request(0, end);
        int received = 0;
        while (received < end && store.Receive(0, end, ready) is > 0 and int count)
        {
            received += count;
        }

        store.End();
        Assert.That(received, Is.EqualTo(end));
    }

    [Test]
    public void Filling_brings_in_all_that_fits_and_reports_it()
    {
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: long.MaxValue);
        int reports = 0;
        tiered.Store.Fill(_ => false, (done, total) => reports += done <= total ? 1 : throw new InvalidOperationException("done more than all"));
        long bytes = tiered.Store.DriveBytesRead;
        tiered.Logits(Tokens(40));
        Assert.That(reports, Is.GreaterThan(0));
        Assert.That(tiered.Store.DriveBytesRead, Is.EqualTo(bytes));
        Assert.That(tiered.Store.Counters.HitRate, Is.EqualTo(1));
    }

    [Test]
    public void Filling_from_a_failing_drive_fails()
    {
        FaultyFiles? files = null;
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: 12 * SlotBytes, wrap: inner => files = new FaultyFiles(inner));
        files!.Error = new IOException("Input/output error");
        Assert.That(() => tiered.Store.Fill(_ => false, null), Throws.TypeOf<CheckpointException>());
    }

    /// <summary>Whether they come in time depends on the drive.</summary>
    [Test]
    public void Guesses_change_nothing_be_they_right_or_wrong([Values] bool areRight)
    {
        int[] tokens = Tokens(30);
        using var mapped = new ModelUnderTest(s_nano, Backend.CpuFast);
        var chosen = new Dictionary<int, int[]>();
        mapped.Forward.Routed = (layer, rows) => chosen[layer] = Chosen(rows);
        float[] expected = mapped.Logits(tokens, 1);
        IEnumerable<int> experts = Enumerable.Range(0, mapped.Weights.Shape.ExpertCount);
        using var tiered = new ModelUnderTest(s_nano, Backend.CpuFast, slotBytes: 20 * SlotBytes);
        tiered.Forward.Routed = (layer, _) =>
        {
            if (chosen.TryGetValue(layer + 1, out int[]? next))
            {
                tiered.Store.Expect(layer + 1, [.. (areRight ? next : experts.Except(next)).Take(4)]);
            }
        };
        Assert.That(tiered.Logits(tokens, 1), Is.EqualTo(expected));
    }

    /// <summary>Of kimi-nano, with its alignment.</summary>
    private static long SlotBytes => s_slotBytes.Value;

    private static readonly Lazy<long> s_slotBytes = new(() => SlotBytesOf(s_nano));

    private static long SlotBytesOf(string folder)
    {
        using var model = new ModelUnderTest(folder, Backend.CpuFast, slotBytes: long.MaxValue);
        return model.Store.SlotBytes;
    }

    private static int[] Tokens(int count)
    {
        var random = new Random(11);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(500))];
    }

    private static int Distinct(KimiCpu.Compute.RoutedRows rows) => Chosen(rows).Length;

    private static unsafe int[] Chosen(KimiCpu.Compute.RoutedRows rows)
    {
        var seen = new HashSet<int>();
        using Checkpoint checkpoint = Checkpoint.Open(s_nano);
        for (int i = 0; i < rows.RowCount * checkpoint.Config.ExpertsPerToken; i++)
        {
            seen.Add(rows.Experts[i]);
        }

        return [.. seen];
    }

    private static string CopyOfNano()
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        foreach (string file in Directory.GetFiles(s_nano))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }

        return folder;
    }
}
