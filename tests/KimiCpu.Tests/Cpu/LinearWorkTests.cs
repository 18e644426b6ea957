// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cpu.Tiles;
using KimiCpu.Tests.Cpu.CodeGeneration;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
internal sealed unsafe class LinearWorkTests
{
    private const int Size = 64;

    /// <param name="run">Whether what fails is the run, or something before it.</param>
    [Test]
    public void What_fails_leaves_no_layer_for_the_next_run([Values] bool run)
    {
        using var pool = new WorkerPool(2);
        using var linear = new LinearWork(pool, TileKernel.Best(), ComputePrecision.Exact);
        using var weight = new RandomMatrix(WeightFormat.Float32, Size, Size, 1);
        var matrix = new HotMatrix(weight.Matrix);
        using var buffer = new AlignedBuffer<float>(3 * Size);
        float* x = buffer.Pointer;
        float* failed = x + Size;
        float* good = failed + Size;
        buffer.Span(0, Size).Fill(1);
        for (int round = 0; round < 4; round++)
        {
            linear.Add(matrix, x, failed);
            if (run)
            {
                // A pool refuses a run inside a run.
                Assert.That(() => pool.Run(2, new PoolAction((begin, _, _) => RunAt(begin, linear))), Throws.TypeOf<InvalidOperationException>());
            }
            else
            {
                linear.Clear();
            }
        }

        buffer.Span(Size, 2 * Size).Clear();
        linear.Add(matrix, x, good).Run(1);
        Assert.That(buffer.Span(Size, Size).ToArray(), Is.All.Zero);
        Assert.That(buffer.Span(2 * Size, Size).ToArray(), Is.All.Not.Zero);
    }

    [Test]
    public void Input_is_rounded_for_formats_that_allow_it_unless_it_must_stay_exact(
        [Values(WeightFormat.BFloat16, WeightFormat.Float8Block)] WeightFormat format, [Values(1, 9)] int tokens, [Values] ComputePrecision precision)
    {
        TileKernel kernel = TileKernel.Best();
        using var pool = new WorkerPool(2);
        using var linear = new LinearWork(pool, kernel, precision);
        using var weight = new RandomMatrix(format, Size, Size, 1);
        var random = new Random(2);
        float[] x = [.. Enumerable.Range(0, tokens * Size).Select(_ => random.NextSingle() - 0.5f)];
        var exact = new float[tokens * Size];
        var free = new float[tokens * Size];
        var expected = new float[tokens * Size];
        fixed (float* source = x, y = exact, z = free, e = expected)
        {
            linear.Add(new HotMatrix(weight.Matrix), source, y, exactInput: true).Add(new HotMatrix(weight.Matrix), source, z).Run(tokens);
            FloatGemv.Multiply(weight.Matrix, 0, Size, source, Size, tokens, e, Size);
        }

        Assert.That(exact, Is.EqualTo(expected));
        float[]? rounded = precision == ComputePrecision.Exact ? null : Rounded(kernel, weight.Matrix, x, tokens);
        Assert.That(free, Is.EqualTo(rounded ?? expected));
        Assert.That(free, rounded is null ? Is.EqualTo(exact) : Is.Not.EqualTo(exact));
    }

    /// <summary>Copies are written matrix by matrix, each node its part, and multiplied side by side: Kimi K2's two matrices behind a layer's first norm.</summary>
    [Test]
    public void Each_node_multiplies_the_tiles_of_copies_that_it_wrote([Values(1, 2, 3)] int nodes)
    {
        const int Columns = 256;
        int[] tiles = [18, 48];
        var machine = new CpuTopology(Enumerable.Range(0, 2 * nodes).Select(i => new LogicalProcessor(i, i, i / 2)));
        using var pool = new WorkerPool(2 * nodes, machine, tie: false) { HelpsOtherNodes = false };
        int[][] wrote = [new int[tiles[0]], new int[tiles[1]]];
        int matrix = 0;
        using var copies = new Int8Copies(pool) { Wrote = (tile, worker) => wrote[matrix][tile] = pool.NodeOf(worker) };
        using var first = new RandomMatrix(WeightFormat.BFloat16, tiles[0] * WeightTile.Rows, Columns, 1);
        using var second = new RandomMatrix(WeightFormat.BFloat16, (tiles[1] * WeightTile.Rows) - 5, Columns, 2);
        var matrices = new HotMatrix[2];
        matrices[0] = copies.Copy(first.Matrix);
        matrix++;
        matrices[1] = copies.Copy(second.Matrix);
        var kernel = new RecordingTileKernel();
        using var linear = new LinearWork(pool, kernel, ComputePrecision.Fast);
        var y = new float[2][] { new float[first.Matrix.Rows], new float[second.Matrix.Rows] };
        float[] x = [.. Enumerable.Range(0, Columns).Select(i => (i % 7) - 3f)];
        fixed (float* source = x, a = y[0], b = y[1])
        {
            linear.Add(matrices[0], source, a).Add(matrices[1], source, b).Run(1);
        }

        for (int m = 0; m < 2; m++)
        {
            long start = (long)matrices[m].Tiles;
            IEnumerable<int> multiplied = Enumerable.Range(0, tiles[m]).Select(tile => pool.NodeOf(kernel.WorkerOf[start + (tile * WeightTile.Bytes(Columns))]));
            Assert.That(multiplied, Is.EqualTo(wrote[m]), $"matrix {m}");
            Assert.That(wrote[m].Distinct().Count(), Is.EqualTo(nodes), $"matrix {m}");
            Assert.That(y[m], Is.All.Not.Zero);
        }
    }

    /// <summary>The router of Kimi K2 beside a prompt, and beside the answers of several calls: 12 blocks of rows, which 64 threads waited for.</summary>
    [TestCase(960, 1)]
    [TestCase(960, 2)]
    [TestCase(960, 64)]
    [TestCase(40, 64)]
    [TestCase(2, 64)]
    public void Few_blocks_are_items_enough_for_many_threads(int tokens, int threads)
    {
        const int Experts = 384;
        using var pool = new WorkerPool(threads, new CpuTopology(CpuTopology.Unknown(threads)), tie: false);
        using var linear = new LinearWork(pool, TileKernel.Best(), ComputePrecision.Fast);
        using var weight = new RandomMatrix(WeightFormat.BFloat16, Experts, Size, 1);
        using var x = new AlignedBuffer<float>(tokens * Size);
        using var y = new AlignedBuffer<float>(tokens * Experts);
        linear.Add(new HotMatrix(weight.Matrix), x.Pointer, y.Pointer, exactInput: true).Run(tokens);
        Assert.That(linear.Items, threads <= 2 ? Is.EqualTo(Experts / WeightTile.Rows) : tokens > 100 ? Is.GreaterThan(threads) : Is.EqualTo(48));
        linear.Add(new HotMatrix(weight.Matrix), x.Pointer, y.Pointer, exactInput: true).Run(1);
        Assert.That(linear.Items, Is.EqualTo(48), "one token's rows are read in the same pieces by any number of threads");
    }

    /// <summary>Where blocks are few beside the threads, each is multiplied with a band of tokens after another, or with fewer rows.</summary>
    [Test]
    public void Bands_of_tokens_do_not_change_a_bit(
        [Values(WeightFormat.BFloat16, WeightFormat.Float8Block, WeightFormat.Float32)] WeightFormat format, [Values] bool copies, [Values] bool exactInput, [Values(2, 60, 97, 333, 500)] int tokens)
    {
        const int Columns = 256;
        const int Rows = 90;
        float[]? expected = null;
        using var weight = new RandomMatrix(format, Rows, Columns, 1);
        using var other = new RandomMatrix(WeightFormat.BFloat16, 3, Columns, 2);
        var random = new Random(3);
        float[] x = [.. Enumerable.Range(0, tokens * Columns).Select(_ => random.NextSingle() - 0.5f)];
        foreach ((int nodes, int threads) in new[] { (1, 1), (1, 3), (2, 8) })
        {
            var machine = new CpuTopology(Enumerable.Range(0, threads).Select(i => new LogicalProcessor(i, i, i * nodes / threads)));
            using var pool = new WorkerPool(threads, machine, tie: false);
            using var int8 = new Int8Copies(pool);
            using var linear = new LinearWork(pool, TileKernel.Best(), ComputePrecision.Fast);
            HotMatrix matrix = copies ? int8.Copy(weight.Matrix) : new HotMatrix(weight.Matrix);
            var y = new float[tokens * (Rows + 3)];
            Array.Fill(y, float.NaN);
            fixed (float* source = x, target = y)
            {
                // Another step before.
                linear.Add(matrix, source, target, exactInput).Run(1);
                linear.Add(matrix, source, target, exactInput).Add(new HotMatrix(other.Matrix), source, target + ((long)tokens * Rows)).Run(tokens);
            }

            expected ??= y;
            Assert.That(y, Is.All.Not.NaN);
            Assert.That(y, Is.EqualTo(expected), $"{threads} threads");
            Assert.That(linear.Items > 4 || tokens < 100 || threads == 1, $"{linear.Items} items for {threads} threads");
        }
    }

    /// <summary>Null where this CPU does not round.</summary>
    private static float[]? Rounded(TileKernel kernel, in WeightMatrix weight, float[] x, int tokens) => weight.Format switch
    {
        WeightFormat.BFloat16 when kernel.BFloat16Products is { } products => BFloat16ProductsTests.Multiply(products, weight, x, tokens, 0, weight.Rows),
        WeightFormat.Float8Block when kernel.Float8Products is { } products => Float8ProductsTests.Multiply(products, weight, x, tokens, 0, weight.Rows),
        _ => null,
    };

    private static void RunAt(int item, LinearWork linear)
    {
        if (item == 0)
        {
            linear.Run(1);
        }
    }

    /// <summary>The definition, which notes whose thread multiplied which tile.</summary>
    private sealed class RecordingTileKernel() : TileKernel(TileKernelKind.Scalar)
    {
        private readonly ScalarTileKernel _inner = new();

        public System.Collections.Concurrent.ConcurrentDictionary<long, int> WorkerOf { get; } = new();

        public override int MaxTokens => _inner.MaxTokens;

        public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
        {
            string? name = Thread.CurrentThread.Name;
            int worker = name?.StartsWith("kimi-worker-", StringComparison.Ordinal) == true ? int.Parse(name["kimi-worker-".Length..], System.Globalization.CultureInfo.InvariantCulture) : 0;
            Assert.That(WorkerOf.TryAdd((long)weights, worker));
            _inner.Multiply(weights, bits8, activations, tokens, blocks, scratch, ahead, y, yStride);
        }
    }
}
