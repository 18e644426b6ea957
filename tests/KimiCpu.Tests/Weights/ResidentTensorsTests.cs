// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Tests.Cpu.ExpertStore;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

/// <summary>Weights in memory of their own: there while somebody holds them, and at the same address.</summary>
[TestFixture]
internal sealed unsafe class ResidentTensorsTests
{
    private Checkpoint _checkpoint = null!;
    private FaultyFiles _files = null!;
    private ResidentTensors _resident = null!;
    private ModelWeights _weights = null!;
    private ModelWeights _mapped = null!;

    [SetUp]
    public void Open()
    {
        _checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-fp8"));
        _files = new FaultyFiles(CheckpointWeightFiles.Open(_checkpoint));
        _resident = new ResidentTensors(_files);
        _weights = WeightLoader.Load(_checkpoint, resident: _resident);
        _mapped = WeightLoader.Load(_checkpoint);
    }

    [TearDown]
    public void Close()
    {
        _resident.Dispose();
        _files.Dispose();
        _checkpoint.Dispose();
    }

    [Test]
    public void Nothing_is_read_before_it_is_held_and_nothing_twice()
    {
        Assert.That((_files.Reads, _resident.Bytes), Is.EqualTo((0, 0L)));
        WeightMatrix[] all = [.. _weights.HotMatrices];
        foreach ((WeightMatrix weight, WeightMatrix stored) in all.Zip(_mapped.HotMatrices))
        {
            _resident.Hold(weight);
            Assert.That(BytesOf(weight).SequenceEqual(BytesOf(stored)));
            Assert.That(ScalesOf(weight).SequenceEqual(ScalesOf(stored)));
        }

        int reads = _files.Reads;
        long bytes = _resident.Bytes;
        Assert.That(all.Any(w => w.Scales != null) && all.Any(w => w.Scales == null));
        Assert.That(bytes, Is.GreaterThanOrEqualTo(all.Sum(w => w.TotalBytes)));
        foreach (WeightMatrix weight in all)
        {
            _resident.Hold(weight);
            _resident.LetGo(weight);
        }

        Assert.That((_files.Reads, _resident.Bytes), Is.EqualTo((reads, bytes)));
        foreach (WeightMatrix weight in all)
        {
            _resident.LetGo(weight);
        }

        Assert.That(_resident.Bytes, Is.Zero);
    }

    [Test]
    public void What_was_let_go_is_read_again_to_where_it_was()
    {
        WeightMatrix head = _weights.Head;
        _resident.Hold(head);
        _resident.LetGo(head);
        int reads = _files.Reads;
        _resident.Hold(head);
        Assert.That(_files.Reads, Is.EqualTo(2 * reads));
        Assert.That(BytesOf(head).SequenceEqual(BytesOf(_mapped.Head)));
    }

    [Test]
    public void Who_comes_while_a_weight_is_read_waits_for_it()
    {
        _files.Stall();
        Task[] holders = [.. Enumerable.Range(0, 4).Select(_ => Task.Factory.StartNew(() => _resident.Hold(_weights.Head), TaskCreationOptions.LongRunning))];
        Assert.That(Task.WhenAny(holders).Wait(200), Is.False);
        _files.Resume();
        Assert.That(Task.WaitAll(holders, TimeSpan.FromSeconds(30)));
        Assert.That(BytesOf(_weights.Head).SequenceEqual(BytesOf(_mapped.Head)));
        for (int i = 0; i < holders.Length; i++)
        {
            Assert.That(_resident.Bytes, Is.Positive);
            _resident.LetGo(_weights.Head);
        }

        Assert.That(_resident.Bytes, Is.Zero);
        Assert.That(() => _resident.LetGo(_weights.Head), Throws.InvalidOperationException);
    }

    [Test]
    public void A_weight_that_cannot_be_read_is_not_held_and_may_be_tried_again()
    {
        WeightMatrix weight = _weights.HotMatrices.First(w => w.Scales != null);
        _files.Error = new IOException("the drive is gone");
        Assert.That(() => _resident.Hold(weight), Throws.TypeOf<CheckpointException>().With.Message.Contains("the drive is gone"));
        Assert.That(_resident.Bytes, Is.Zero);
        _files.Error = null;
        _resident.Hold(weight);
        Assert.That(_resident.Bytes, Is.Positive);
    }

    [Test]
    public void Weights_without_their_scales_are_not_held()
    {
        _files.GoodReads = 1;
        _files.Error = new IOException("the drive is gone");
        WeightMatrix weight = _weights.HotMatrices.First(w => w.Scales != null);
        Assert.That(() => _resident.Hold(weight), Throws.TypeOf<CheckpointException>());
        Assert.That((_files.Reads, _resident.Bytes), Is.EqualTo((2, 0L)));
    }

    [Test]
    public void Memory_of_what_nobody_holds_is_the_system_s([Values] bool fails)
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Only Linux says what is in pages that were given back.");
        }

        WeightMatrix head = _weights.Head;
        if (fails)
        {
            _files.Error = new IOException("the drive is gone");
            Assert.That(() => _resident.Hold(head), Throws.TypeOf<CheckpointException>());
        }
        else
        {
            _resident.Hold(head);
            Assert.That(BytesOf(head).IndexOfAnyExcept((byte)0), Is.Not.Negative);
            _resident.LetGo(head);
        }

        Assert.That(_files.Reads, Is.Positive);
        Assert.That(BytesOf(head).IndexOfAnyExcept((byte)0), Is.Negative);
    }

    [Test]
    public void A_CPU_whose_weights_cannot_be_read_to_the_end_holds_none([Values] bool int8HotPath)
    {
        _files.GoodReads = 20;
        _files.Error = new IOException("the drive is gone");
        Assert.That(() => new CpuBackend(_weights, new CpuBackendOptions { Threads = 1, Int8HotPath = int8HotPath }), Throws.TypeOf<CheckpointException>());
        Assert.That(_files.Reads, Is.GreaterThan(20));
        Assert.That(_resident.Bytes, Is.Zero);
    }

    [Test]
    public void In_turn_the_next_ones_are_read_and_what_nobody_takes_is_let_go()
    {
        using (var turn = new WeightsInTurn(_resident, _weights.HotMatrices))
        {
            turn.Take();
            Assert.That(() => _files.Reads, Is.EqualTo(_weights.HotMatrices.Take(9).Sum(w => w.Scales == null ? 1 : 2)).After(20_000, 20), "eight of them ahead");
        }

        Assert.That(_resident.Bytes, Is.Zero);
        Assert.That(_files.PoolReads, Is.Zero, "an application's calls may hold all threads of the pool, and wait for the model that reads");
    }

    [Test]
    public void A_weight_that_nobody_wants_any_more_is_read_no_further()
    {
        using var ended = new CancellationTokenSource();
        ended.Cancel();
        Assert.That(() => _resident.Hold(_weights.Head, ended.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That((_files.Reads, _resident.Bytes), Is.EqualTo((0, 0L)));
    }

    /// <summary>Its read goes on in memory that must stay until the drive answers.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void A_drive_that_does_not_answer_fails_who_waits_and_is_asked_again_when_it_has()
    {
        using var resident = new ResidentTensors(_files, TimeSpan.FromSeconds(2));
        ModelWeights weights = WeightLoader.Load(_checkpoint, resident: resident);
        _files.Stall();
        for (int i = 0; i < 2; i++)
        {
            CheckpointException error = Assert.Throws<CheckpointException>(() => InTime(() => resident.Hold(weights.Head)))!;
            Assert.That((error.Tensor, error.Problem), Is.EqualTo(("lm_head.weight", $"Reading at byte {_checkpoint.Get("lm_head.weight").Offset:N0} failed: The drive has not answered for 2 seconds.")));
        }

        Assert.That((_files.Reads, resident.Bytes), Is.EqualTo((1, 0L)), "not twice at once into the same memory");
        _files.Resume();
        Assert.That(_files.Reader!.Join(TimeSpan.FromSeconds(30)));
        resident.Hold(weights.Head);
        Assert.That(_files.Reads, Is.EqualTo(2));
        Assert.That(BytesOf(weights.Head).SequenceEqual(BytesOf(_mapped.Head)));
    }

    /// <summary>As where a GPU is lost while the drive is silent.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void A_CPU_takes_no_hot_path_over_from_a_drive_that_does_not_answer_and_nothing_waits_for_it([Values] bool int8HotPath)
    {
        var resident = new ResidentTensors(_files, TimeSpan.FromMilliseconds(200));
        ModelWeights weights = WeightLoader.Load(_checkpoint, resident: resident);
        using (var cpu = new CpuBackend(weights, new CpuBackendOptions { Threads = 1, HotPathElsewhere = true, Int8HotPath = int8HotPath }))
        {
            _files.Stall();
            Assert.That(() => InTime(cpu.TakeOverHotPath), Throws.TypeOf<CheckpointException>().With.Message.Contains("The drive has not answered"));
            Assert.That((cpu.HasHotPath, resident.Bytes), Is.EqualTo((false, 0L)));
        }

        int reads = _files.Reads;
        resident.Dispose();
        _files.Resume();
        Assert.That(_files.Reader!.Join(TimeSpan.FromSeconds(30)), "left behind, and ended");
        Assert.That(_files.Reads, Is.EqualTo(reads));
    }

    [Test]
    public void In_turn_what_is_kept_stays()
    {
        WeightMatrix first = _weights.HotMatrices.First();
        using (var turn = new WeightsInTurn(_resident, _weights.HotMatrices))
        {
            turn.Take();
            turn.Take();
            turn.LetGo(_weights.HotMatrices.ElementAt(1));
            turn.Keep();
        }

        Assert.That(BytesOf(first).SequenceEqual(BytesOf(_mapped.HotMatrices.First())));
        _resident.LetGo(first);
        Assert.That(_resident.Bytes, Is.Zero);
    }

    [Test]
    public void In_turn_a_read_that_fails_is_told_to_who_takes_it()
    {
        using (var turn = new WeightsInTurn(_resident, _weights.HotMatrices))
        {
            _files.Error = new IOException("the drive is gone");
            Assert.That(turn.Take, Throws.TypeOf<CheckpointException>().With.Message.Contains("the drive is gone"));
        }

        Assert.That(_resident.Bytes, Is.Zero);
    }

    private static void InTime(Action action) => Task.Factory.StartNew(action, TaskCreationOptions.LongRunning).WaitAsync(TimeSpan.FromSeconds(60)).GetAwaiter().GetResult();

    private static ReadOnlySpan<byte> BytesOf(WeightMatrix weight) => new(weight.Data, (int)(weight.Rows * weight.RowBytes));

    private static ReadOnlySpan<byte> ScalesOf(WeightMatrix weight) => new(weight.Scales, (int)(weight.TotalBytes - (weight.Rows * weight.RowBytes)));
}
