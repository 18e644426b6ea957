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
