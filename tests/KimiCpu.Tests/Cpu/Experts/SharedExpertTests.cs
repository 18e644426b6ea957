// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.Experts;

[TestFixture]
[Category("Kernels")]
internal sealed unsafe class SharedExpertTests
{
    private const int Hidden = 100;

    /// <summary>No multiple of the rows of an item, or of those that are rounded together; the copy of down takes them in groups.</summary>
    private const int Inner = 520;

    /// <summary>Threads take items in any order, so the last one may find anything in their memory: numbers of an earlier batch here, a thousand times as large.</summary>
    [Test]
    public void Items_in_any_order_give_the_same_bits_whatever_was_computed_before([Values(1, 2)] int tokens, [Values] ComputePrecision precision, [Values] bool copies)
    {
        using var gate = new RandomMatrix(WeightFormat.BFloat16, Inner, Hidden, 1);
        using var up = new RandomMatrix(WeightFormat.BFloat16, Inner, Hidden, 2);
        using var down = new RandomMatrix(WeightFormat.BFloat16, Hidden, Inner, 3);
        using var pool = new WorkerPool(1);
        using var int8 = new Int8Copies(pool);
        HotMlp mlp = new(new HotMatrix(gate.Matrix), new HotMatrix(up.Matrix), copies ? int8.Copy(down.Matrix) : new HotMatrix(down.Matrix));
        Assert.That(mlp.Down.Is8Bit, Is.EqualTo(copies));
        var random = new Random(4);
        float[] x = [.. Enumerable.Range(0, tokens * Hidden).Select(_ => random.NextSingle() - 0.5f)];
        using var fresh = new SharedExpert([mlp], pool, TileKernel.Best(), precision);
        using var used = new SharedExpert([mlp], pool, TileKernel.Best(), precision);
        float[] expected = Run(fresh, x, backwards: false);
        Run(used, [.. x.Select(v => v * 1000)], backwards: false);
        Assert.That(Run(used, x, backwards: true), Is.EqualTo(expected));
    }

    private static float[] Run(SharedExpert expert, float[] x, bool backwards)
    {
        int tokens = x.Length / Hidden;
        var sum = new float[x.Length];
        fixed (float* hidden = x, y = sum)
        {
            expert.Prepare(0, new RoutedRows(tokens, hidden, null, null));
            int items = backwards ? 1 : ExpertRuns.MostItems;
            for (int i = 0; i < expert.GateUpItems; i += items)
            {
                expert.GateUp(backwards ? expert.GateUpItems - 1 - i : i, Math.Min(items, expert.GateUpItems - i), worker: 0);
            }

            for (int row = 0; row < Hidden; row += WeightTile.Rows)
            {
                expert.Down(row, Math.Min(WeightTile.Rows, Hidden - row), y + row, Hidden, worker: 0);
            }
        }

        return sum;
    }
}
