// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using KimiCpu.Tests.Cpu.CodeGeneration;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cpu.Experts;

/// <summary>Experts in FP8 are multiplied by the CPU's instructions for BF16 where it has them, and exactly in exact mode.</summary>
[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Float8ExpertsTests
{
    private const int RoutedExpert = 1;

    [Test]
    public void Products_are_rounded_only_where_they_may_be([Values] bool shared, [Values] ComputePrecision precision, [Values(1, 3)] int tokens)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-fp8"), Backend.Reference);
        (LayerWeights layer, int index) = model.Weights.Layers.Select((l, i) => (l, i)).First(l => l.l.Experts.Length > 0);
        MlpWeights weights = shared ? layer.Shared! : layer.Experts[RoutedExpert];
        Assert.That(weights.Gate.Format, Is.EqualTo(WeightFormat.Float8Block));
        int hidden = weights.Gate.Columns;
        var random = new Random(1);
        float[] x = [.. Enumerable.Range(0, tokens * hidden).Select(_ => random.NextSingle() - 0.5f)];
        float[] rounded = Mlp(Rounding, weights, x, tokens);
        float[] exact = Mlp(FloatGemv.Multiply, weights, x, tokens);
        bool rounds = precision == ComputePrecision.Fast && TileKernel.Best().Float8Products is not null;
        float[] actual = shared ? Shared(weights, precision, x, tokens) : Routed(model.Weights, index, precision, x, tokens);
        Assert.That(actual, Is.EqualTo(rounds ? rounded : exact));
        Assert.That(TileKernel.Best().Float8Products is null || !rounded.SequenceEqual(exact));
    }

    /// <summary>Rows of tokens that share an expert are copied side by side, which all threads do; a row that no other one is beside is read where it lies, whatever it holds by then.</summary>
    [Test]
    public void Only_rows_that_share_an_expert_are_copied([Values(1, 3)] int threads, [Values] bool shares)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-fp8"), Backend.Reference);
        ModelShape shape = model.Weights.Shape;
        int layer = model.Weights.Layers.Select((l, i) => (l, i)).First(l => l.l.Experts.Length > 0).i;
        int[] chosen = [.. Enumerable.Range(0, shape.ExpertsPerToken), .. Enumerable.Range(shares ? shape.ExpertsPerToken - 1 : shape.ExpertsPerToken, shape.ExpertsPerToken)];
        float[] factors = [.. chosen.Select(_ => 1f)];
        var random = new Random(1);
        float[] x = [.. Enumerable.Range(0, 2 * shape.HiddenSize).Select(_ => random.NextSingle() - 0.5f)];
        float[] later = [.. x.Select(f => 2 * f)];
        float[] expected = [.. Enumerable.Range(0, 2).SelectMany(Alone)];

        float[] Alone(int token)
        {
            var sum = new float[shape.HiddenSize];
            foreach (int expert in chosen.AsSpan(token * shape.ExpertsPerToken, shape.ExpertsPerToken))
            {
                float[] row = (shares ? x : later)[(token * shape.HiddenSize)..((token + 1) * shape.HiddenSize)];
                RowMath.AddScaled(sum, Mlp(FloatGemv.Multiply, model.Weights.Layers[layer].Experts[expert], row, 1), 1);
            }

            return sum;
        }

        using var pool = new WorkerPool(threads);
        using var groups = new ExpertGroups(shape);
        using var experts = new FloatExperts(model.Weights, pool, TileKernel.Best(), ComputePrecision.Exact);
        var actual = new float[x.Length];
        fixed (float* hidden = x, weights = factors, sum = actual)
        fixed (int* choice = chosen)
        {
            var rows = new RoutedRows(2, hidden, choice, weights);
            groups.Build(rows);
            experts.Prepare(layer, rows, groups, [.. Enumerable.Range(0, groups.Count).Select(g => model.Weights.Layers[layer].Experts[groups[g].Expert])]);
            later.CopyTo(x, 0);
            for (int g = 0; g < groups.Count; g++)
            {
                for (int item = 0; item < experts.GateUpItems; item++)
                {
                    experts.GateUp(g, item, 1, 0);
                }
            }

            for (int row = 0; row < shape.HiddenSize; row += WeightTile.Rows)
            {
                experts.Down(0, groups.Count, row, Math.Min(WeightTile.Rows, shape.HiddenSize - row), sum + row, shape.HiddenSize, 0);
            }
        }

        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void Formats_may_differ_within_a_shared_expert([Values] bool float8Down, [Values(1, 3)] int tokens)
    {
        const int Hidden = 128;
        const int Inner = 80;
        if (TileKernel.Best() is not { Float8Products: not null, BFloat16Products: { } products })
        {
            Assert.Ignore("Needs AVX512_VBMI and AVX512_BF16, and executable memory.");
            return;
        }

        (WeightFormat first, WeightFormat last) = float8Down ? (WeightFormat.BFloat16, WeightFormat.Float8Block) : (WeightFormat.Float8Block, WeightFormat.BFloat16);
        using var gate = new RandomMatrix(first, Inner, Hidden, 1);
        using var up = new RandomMatrix(first, Inner, Hidden, 2);
        using var down = new RandomMatrix(last, Hidden, Inner, 3);
        float[] Product(RandomMatrix weight, float[] x) => weight.Matrix.Format == WeightFormat.BFloat16
            ? BFloat16ProductsTests.Multiply(products, weight.Matrix, x, tokens, 0, weight.Matrix.Rows)
            : Multiply(Rounding, weight.Matrix, x, tokens);
        var random = new Random(4);
        float[] x = [.. Enumerable.Range(0, tokens * Hidden).Select(_ => random.NextSingle() - 0.5f)];
        float[] inner = Product(gate, x);
        SwiGlu.Apply(inner, Product(up, x));
        var weights = new MlpWeights { Gate = gate.Matrix, Up = up.Matrix, Down = down.Matrix };
        Assert.That(Shared(weights, ComputePrecision.Fast, x, tokens), Is.EqualTo(Product(down, inner)));
    }

    private static float[] Routed(ModelWeights model, int layer, ComputePrecision precision, float[] x, int tokens)
    {
        using var pool = new WorkerPool(2);
        using var store = new MappedExpertStore(model);
        using var experts = new CpuRoutedExperts(model, pool, precision, TileKernel.Best(), shared: null, store);
        int chosen = model.Shape.ExpertsPerToken;

        // The others have no weight.
        int[] ids = [.. Enumerable.Repeat(Enumerable.Range(RoutedExpert, chosen), tokens).SelectMany(i => i)];
        float[] factors = [.. ids.Select(id => id == RoutedExpert ? 1f : 0)];
        var sum = new float[x.Length];
        fixed (float* hidden = x, weights = factors)
        fixed (int* choice = ids)
        {
            experts.Run(layer, new RoutedRows(tokens, hidden, choice, weights), sum);
        }

        return sum;
    }

    private static float[] Shared(MlpWeights weights, ComputePrecision precision, float[] x, int tokens)
    {
        using var pool = new WorkerPool(1);
        using var expert = new SharedExpert([new HotMlp(new HotMatrix(weights.Gate), new HotMatrix(weights.Up), new HotMatrix(weights.Down))], pool, TileKernel.Best(), precision);
        var sum = new float[x.Length];
        fixed (float* hidden = x, target = sum)
        {
            expert.Prepare(0, new RoutedRows(tokens, hidden, null, null));
            for (int item = 0; item < expert.GateUpItems; item++)
            {
                expert.GateUp(item, 1, 0);
            }

            for (int row = 0; row < weights.Down.Rows; row += WeightTile.Rows)
            {
                expert.Down(row, Math.Min(WeightTile.Rows, weights.Down.Rows - row), target + row, weights.Down.Rows, 0);
            }
        }

        return sum;
    }

    private static float[] Mlp(Product product, MlpWeights weights, float[] x, int tokens)
    {
        float[] gate = Multiply(product, weights.Gate, x, tokens);
        SwiGlu.Apply(gate, Multiply(product, weights.Up, x, tokens));
        return Multiply(product, weights.Down, gate, tokens);
    }

    private static float[] Multiply(Product product, in WeightMatrix weight, float[] x, int tokens)
    {
        var result = new float[tokens * weight.Rows];
        fixed (float* source = x, target = result)
        {
            product(weight, 0, weight.Rows, source, weight.Columns, tokens, target, weight.Rows);
        }

        return result;
    }

    private static void Rounding(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride) =>
        new StoredProducts(TileKernel.Best(), ComputePrecision.Fast).Multiply(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);

    private delegate void Product(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride);
}
