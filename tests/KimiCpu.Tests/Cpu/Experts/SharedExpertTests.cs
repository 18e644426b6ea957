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

    /// <summary>Wide enough for copies of what it is multiplied with.</summary>
    private const int WideHidden = 256;

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

    /// <summary>As of a checkpoint whose gate alone has 4 bits, which are not copied.</summary>
    [Test]
    public void An_8_bit_copy_of_up_alone_is_multiplied_like_any_other([Values(1, 2)] int tokens, [Values] ComputePrecision precision, [Values] bool copiesDown)
    {
        using var gate = new RandomMatrix(WeightFormat.Int4Group32, Inner, WideHidden, 1);
        using var up = new RandomMatrix(WeightFormat.BFloat16, Inner, WideHidden, 2);
        using var down = new RandomMatrix(WeightFormat.BFloat16, WideHidden, Inner, 3);
        using var pool = new WorkerPool(1);
        using var int8 = new Int8Copies(pool);
        HotMlp mlp = new(int8.Copy(gate.Matrix), int8.Copy(up.Matrix), copiesDown ? int8.Copy(down.Matrix) : new HotMatrix(down.Matrix));
        Assert.That((mlp.Gate.Is8Bit, mlp.Up.Is8Bit, mlp.Down.Is8Bit), Is.EqualTo((false, true, copiesDown)));
        var random = new Random(4);
        float[] x = [.. Enumerable.Range(0, tokens * WideHidden).Select(_ => random.NextSingle() - 0.5f)];
        using var expert = new SharedExpert([mlp], pool, TileKernel.Best(), precision);

        // What is left of another batch is no part of this one.
        Run(expert, [.. Enumerable.Repeat(1000f, 3 * WideHidden)], backwards: true, WideHidden);
        float[] found = Run(expert, x, backwards: false, WideHidden);
        for (int t = 0; t < tokens; t++)
        {
            double[] expected = InDouble(mlp, [.. x.Skip(t * WideHidden).Take(WideHidden).Select(v => (double)v)]);
            double off = Math.Sqrt(expected.Select((e, i) => Math.Pow(found[(t * WideHidden) + i] - e, 2)).Sum());
            Assert.That(off / Math.Sqrt(expected.Sum(e => e * e)), Is.InRange(0, 0.03), "off by what rounding to 8 bits costs");
        }
    }

    private static double[] InDouble(HotMlp mlp, double[] x)
    {
        double[] up = Product(mlp.Up.Stored, x);
        double[] inner = [.. Product(mlp.Gate.Stored, x).Select((g, i) => g / (1 + Math.Exp(-g)) * up[i])];
        return Product(mlp.Down.Stored, inner);

        static double[] Product(WeightMatrix weight, double[] x)
        {
            var row = new float[weight.Columns];
            var y = new double[weight.Rows];
            for (int r = 0; r < y.Length; r++)
            {
                WeightDecoder.DecodeRow(weight, r, row);
                y[r] = row.Zip(x, (w, v) => w * v).Sum();
            }

            return y;
        }
    }

    private static float[] Run(SharedExpert expert, float[] x, bool backwards, int width = Hidden)
    {
        int tokens = x.Length / width;
        var sum = new float[x.Length];
        fixed (float* hidden = x, y = sum)
        {
            expert.Prepare(0, new RoutedRows(tokens, hidden, null, null));
            int items = backwards ? 1 : ExpertRuns.MostItems;
            for (int i = 0; i < expert.GateUpItems; i += items)
            {
                expert.GateUp(backwards ? expert.GateUpItems - 1 - i : i, Math.Min(items, expert.GateUpItems - i), worker: 0);
            }

            for (int row = 0; row < width; row += WeightTile.Rows)
            {
                expert.Down(row, Math.Min(WeightTile.Rows, width - row), y + row, width, worker: 0);
            }
        }

        return sum;
    }
}
