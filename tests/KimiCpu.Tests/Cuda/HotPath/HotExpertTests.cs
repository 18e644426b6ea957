// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Tests.Cpu.ExpertStore;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Whole tiny models with some of their routed experts on the simulated GPU and the others on the CPU.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class HotExpertTests
{
    /// <summary>
    /// Of the largest logit: one value of a row in 8 bits that is rounded the other way. On an H200 that has been three thousandths; the interpreter, whose
    /// exponentials are the CPU's, has a thousandth of it.
    /// </summary>
    private const double MostDifference = 5e-3;

    private const string Tiny = "tiny-steady";

    private static readonly int[] s_tokens = [.. Enumerable.Range(3, 12)];

    private float[] _onCpu = [];

    /// <summary>The hot path on the GPU, no expert there.</summary>
    [OneTimeSetUp]
    public void ComputeOnCpu()
    {
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint(Tiny));
        using var cpu = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
        model.Experts = cpu.Experts;
        Assert.That(model.HotPath.Experts, Is.Null);
        _onCpu = model.Logits(s_tokens, 7);
    }

    /// <summary>Both sides compute alike, so what differs is the order of sums and now and then a rounding that follows from it.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void It_hardly_matters_who_has_an_expert([Values(0.0, 0.4, 1.0)] double share, [Values] bool useGraphs)
    {
        using var driver = new GpuUnderTest();
        using var gpu = new Hybrid(driver, new Fixed(share), useGraphs);
        float[] logits = gpu.Model.Logits(s_tokens, 7);
        Agreement agreement = Agreement.Of(_onCpu, logits, gpu.Model.Vocabulary);
        TestContext.Out.WriteLine($"{share:P0} of the experts on the GPU: {agreement}");
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(MostDifference));
        Assert.That(gpu.Left.Distinct().Count(), share switch { 0 => Is.InRange(20, 2 * 12), 1 => Is.Zero, _ => Is.InRange(5, 2 * 12 - 5) }, "experts left to the CPU");
        Assert.That(gpu.Left.Any(k => gpu.Model.HotPath.Experts!.Held[k]), Is.False);
        Assert.That(gpu.Model.Logits(s_tokens, 7), Is.EqualTo(logits));
        Assert.That(gpu.Model.Logits(s_tokens), Is.EqualTo(logits), "few rows a pass or many: the same kernels");
    }

    /// <summary>While an expert moves, neither it nor the one that gives way is on the GPU; every pass is right, and recordings stay.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Experts_change_places_between_passes()
    {
        var placement = new Fixed(0.5);
        using var driver = new GpuUnderTest();
        var gpu = new Hybrid(driver, placement, useGraphs: true);
        HotExperts experts = gpu.Model.HotPath.Experts!;
        gpu.Model.Logits(s_tokens, 4);
        int recorded = gpu.Model.HotPath.GraphCount;
        int moves = 0;
        for (int i = 0; i < 6; i++)
        {
            var move = new ExpertMove(FirstKey(experts, held: false), FirstKey(experts, held: true));
            placement.Wanted = move;
            moves++;
            while (experts.Moves < moves)
            {
                Agreement agreement = Agreement.Of(_onCpu, gpu.Model.Logits(s_tokens, 4), gpu.Model.Vocabulary);
                Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(MostDifference), $"move {i}");
            }

            Assert.That((experts.Held[move.In], experts.Held[move.Out]), Is.EqualTo((true, false)));
        }

        Assert.That(gpu.Model.HotPath.GraphCount, Is.EqualTo(recorded));
        bool[] held = experts.Held.ToArray();
        float[] logits = gpu.Model.Logits(s_tokens, 4);
        gpu.Dispose();
        using var fresh = new Hybrid(driver, new Fixed(key => held[key]), useGraphs: true);
        Assert.That(fresh.Model.Logits(s_tokens, 4), Is.EqualTo(logits), "as if they had been there from the first");
    }

    [Test]
    public void A_copy_that_fails_is_made_by_a_later_pass()
    {
        var placement = new Fixed(0.5);
        using var driver = new SimulatedDriver();
        using var gpu = new Hybrid(driver, placement, useGraphs: true);
        HotExperts experts = gpu.Model.HotPath.Experts!;
        for (int failing = 0; failing < 3; failing++)
        {
            var move = new ExpertMove(FirstKey(experts, held: false), FirstKey(experts, held: true));
            placement.Wanted = move;
            gpu.Model.Logits([1]);
            Gathered(experts);

            // The pass makes the context current; then it tells who gives way, sends the bytes, and tells who is new.
            (driver.FailingCall, driver.Failure) = (driver.Calls + 2 + failing, CUResult.ErrorUnknown);
            Assert.That(() => gpu.Model.Logits([1]), Throws.TypeOf<CudaException>());
            Assert.That(gpu.Model.HotPath.Settle());
            Assert.That(experts.Held[move.In], Is.False);
            Assert.That(Agreement.Of(_onCpu, gpu.Model.Logits(s_tokens), gpu.Model.Vocabulary).MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(MostDifference));
            Assert.That((experts.Held[move.In], experts.Held[move.Out], experts.Moves), Is.EqualTo((true, false, failing + 1)));
        }
    }

    /// <summary>Nothing waits for the last bytes of a move but a pass that is wanted to its end.</summary>
    [Test]
    [CancelAfter(300_000)]
    public void An_expert_that_is_still_on_its_way_is_not_overwritten_by_the_next_one()
    {
        var placement = new Fixed(0.5);
        using var driver = new GpuUnderTest();
        var gpu = new Hybrid(driver, placement, useGraphs: true);
        HotExperts experts = gpu.Model.HotPath.Experts!;
        gpu.Model.Logits(s_tokens);
        int[] keys = [.. Enumerable.Range(12, 24)];
        ExpertMove[] moves = [.. keys.Where(k => !experts.Held[k]).Zip(keys.Where(k => experts.Held[k]), (comes, goes) => new ExpertMove(comes, goes)).Take(2)];
        for (int i = 0; i < moves.Length; i++)
        {
            placement.Wanted = moves[i];
            experts.Advance();
            Gathered(experts);
            experts.Advance();
            Assert.That(experts.Moves, Is.EqualTo(i + 1), "in one piece");
        }

        bool[] held = experts.Held.ToArray();
        float[] logits = gpu.Model.Logits(s_tokens);
        gpu.Dispose();
        using var fresh = new Hybrid(driver, new Fixed(key => held[key]), useGraphs: true);
        Assert.That(fresh.Model.Logits(s_tokens), Is.EqualTo(logits));
    }

    /// <summary>The mapping's pages would push out of the page cache what others need there.</summary>
    [Test]
    public void Beside_a_store_experts_come_from_its_files_and_stay_away_where_these_fail()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(Tiny));
        using var files = new FaultyFiles(CheckpointWeightFiles.Open(checkpoint));
        using var driver = new SimulatedDriver();
        float[] expected;
        using (var mapped = new Hybrid(driver, new Fixed(0.5), useGraphs: true))
        {
            expected = mapped.Model.Logits(s_tokens);
        }

        var placement = new Fixed(0.5);
        ExpertFiles places = ExpertPlaces.Of(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), files);
        using var gpu = new Hybrid(driver, placement, useGraphs: true, places);
        HotExperts experts = gpu.Model.HotPath.Experts!;
        Assert.That(files.Reads, Is.EqualTo(6 * experts.Held.Count(true)), "a read for each of six parts");
        Assert.That(gpu.Model.Logits(s_tokens), Is.EqualTo(expected));

        var move = new ExpertMove(FirstKey(experts, held: false), FirstKey(experts, held: true));
        (files.Error, placement.Wanted) = (new IOException("Input/output error"), move);
        gpu.Model.Logits([1]);
        Gathered(experts);
        Assert.That(gpu.Model.Logits(s_tokens), Is.EqualTo(expected), "nothing has moved");
        Assert.That((experts.Held[move.In], experts.Held[move.Out]), Is.EqualTo((false, true)));

        (files.Error, placement.Wanted) = (null, move);
        gpu.Model.Logits([1]);
        Gathered(experts);
        gpu.Model.Logits([1]);
        Assert.That((experts.Held[move.In], experts.Held[move.Out], experts.Moves), Is.EqualTo((true, false, 1)));
        Assert.That(Agreement.Of(expected, gpu.Model.Logits(s_tokens), gpu.Model.Vocabulary).MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(MostDifference));
        Assert.That(files.PoolReads, Is.Zero, "an application's calls may hold all threads of the pool, and wait for the GPU that waits for the reads");
    }

    /// <summary>Its thread cannot be ended: it is left behind, and touches nothing any more when the drive answers after all.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void Closing_does_not_wait_for_a_drive_that_does_not_answer()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(Tiny));
        using var files = new FaultyFiles(CheckpointWeightFiles.Open(checkpoint));
        using var driver = new SimulatedDriver();
        var placement = new Fixed(0.5);
        var gpu = new Hybrid(driver, placement, useGraphs: true, ExpertPlaces.Of(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), files));
        HotExperts experts = gpu.Model.HotPath.Experts!;
        int reads = files.Reads;
        files.Stall();
        placement.Wanted = new ExpertMove(FirstKey(experts, held: false), FirstKey(experts, held: true));
        gpu.Model.Logits([1]);
        Assert.That(() => files.Reads, Is.EqualTo(reads + 1).After(30_000, 1));
        Assert.That(experts.IsGathering);
        Thread reader = files.Reader!;
        Task closing = Task.Factory.StartNew(gpu.Dispose, TaskCreationOptions.LongRunning);
        Assert.That(closing.Wait(TimeSpan.FromSeconds(60)), "closed");
        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
        Assert.That((reader.Name, reader.IsAlive), Is.EqualTo(("kimi-gpu-gather", true)));
        files.Resume();
        Assert.That(reader.Join(TimeSpan.FromSeconds(30)), "ended");
        Assert.That(files.Reads, Is.EqualTo(reads + 1), "no further piece");
    }

    /// <summary>Who stops the opening is heard while the drive is silent; who does not is told after a while.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void An_opening_does_not_wait_without_end_for_a_drive_that_does_not_answer([Values] bool isStopped)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(Tiny));
        using var files = new FaultyFiles(CheckpointWeightFiles.Open(checkpoint));
        using var driver = new SimulatedDriver();
        int told = 0;
        Action open = () => _ = new GpuModel(
            driver,
            Repository.Checkpoint(Tiny),
            placement: new Fixed(1.0),
            expertBytes: null,
            expertFiles: ExpertPlaces.Of(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), files),
            drivePatience: TimeSpan.FromSeconds(isStopped ? 100 : 2),
            expertProgress: (done, _) =>
            {
                told++;
                files.Stall();
                if (isStopped && told > 1)
                {
                    throw new OperationCanceledException("enough");
                }
            });
        Assert.That(() => open(), isStopped ? (NUnit.Framework.Constraints.IResolveConstraint)Throws.TypeOf<OperationCanceledException>() : Throws.TypeOf<CheckpointException>().With.Message.Contains("has not answered for 2 seconds").And.Message.Contains(".mlp.experts."));
        Assert.That(told, Is.GreaterThan(1));
        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
        files.Resume();
        Assert.That(files.Reader!.Join(TimeSpan.FromSeconds(30)), "ended");
    }

    /// <summary>A drive with one read at a time gives a third of what it could.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void An_opening_has_several_reads_under_way()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(Tiny));
        using var files = new FaultyFiles(CheckpointWeightFiles.Open(checkpoint));
        using var driver = new SimulatedDriver();
        files.Stall();
        var experts = ExpertPlaces.Of(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), files);
        Task<GpuModel> opening = Task.Factory.StartNew(() => new GpuModel(driver, Repository.Checkpoint(Tiny), placement: new Fixed(1.0), expertBytes: null, expertFiles: experts), TaskCreationOptions.LongRunning);
        Assert.That(() => files.Reads, Is.EqualTo(4).After(60_000, 1));
        files.Resume();
        using GpuModel model = opening.GetAwaiter().GetResult();
        Assert.That(files.PoolReads, Is.Zero);
    }

    private static void Gathered(HotExperts experts) =>
        Assert.That(() => experts.IsGathering, Is.False.After(60_000, 1), "the bytes are together, or cannot be had");

    private static int FirstKey(HotExperts experts, bool held)
    {
        // The first layer is dense.
        int first = 12;
        while (experts.Held[first] != held)
        {
            first++;
        }

        return first;
    }

    private sealed unsafe class Hybrid : IDisposable
    {
        private readonly CpuBackend _cpu;

        public Hybrid(GpuUnderTest driver, Fixed placement, bool useGraphs, ExpertFiles? files = null)
        {
            Model = new GpuModel(driver, Repository.Checkpoint(Tiny), useGraphs, placement: placement, expertBytes: null, expertFiles: files);
            _cpu = new CpuBackend(Model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
            Model.Experts = new Recorder(_cpu.Experts, Left, Model.Weights.Shape);
        }

        public GpuModel Model { get; }

        /// <summary>Keys of the experts that the CPU computed.</summary>
        public List<int> Left { get; } = [];

        public void Dispose()
        {
            _cpu.Dispose();
            Model.Dispose();
        }

        private sealed class Recorder(CpuRoutedExperts experts, List<int> left, ModelShape shape) : IRoutedExperts
        {
            public long DriveBytesRead => 0;

            public void Run(int layer, RoutedRows rows, Span<float> sum)
            {
                for (int i = 0; i < rows.RowCount * shape.ExpertsPerToken; i++)
                {
                    if (rows.IsHere(rows.Experts[i]))
                    {
                        left.Add((layer * shape.ExpertCount) + rows.Experts[i]);
                    }
                }

                experts.Run(layer, rows, sum);
            }

            public void Dispose()
            {
            }
        }
    }

    /// <summary>Holds what it is told to.</summary>
    internal sealed class Fixed(Func<int, bool> wanted) : IExpertPlacement
    {
        public Fixed(double share)
            : this(key => key * 7 % 12 < share * 12)
        {
        }

        public ExpertMove? Wanted { get; set; }

        public IReadOnlyList<int> First(int count) => [.. Enumerable.Range(12, 24).Where(wanted)];

        public ExpertMove? Next(ReadOnlySpan<bool> held)
        {
            (ExpertMove? next, Wanted) = (Wanted, null);
            return next;
        }
    }
}
