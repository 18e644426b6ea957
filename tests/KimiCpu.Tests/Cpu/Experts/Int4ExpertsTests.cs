// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.Experts;

/// <summary>Experts of one step may have any numbers of tokens: each is multiplied in the way that suits it, and every token's output is that of the token alone by the scalar kernel.</summary>
[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Int4ExpertsTests
{
    private const int Hidden = 328;
    private const int Inner = 80;
    private const int Chosen = 2;

    /// <summary>Tokens of each expert: one has all, the others divide them, some from stored rows and some from tiles.</summary>
    private static readonly int[] s_tokens = [70, 25, 24, 1, 8, 12];

    private static IEnumerable<TileKernelKind> Kinds => TileKernel.Supported;

    /// <param name="kind">Of kernel.</param>
    /// <param name="threads">Of the pool.</param>
    /// <param name="times">As many tokens. With four times a thread sums up down's rows in two runs, the second one shorter.</param>
    [Test]
    public void Tokens_of_busy_and_idle_experts_come_out_as_alone([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(1, 2)] int threads, [Values(1, 4)] int times)
    {
        Assert.That(ExpertRuns.MostDownItems(4 * s_tokens[0]) * WeightTile.Rows, Is.LessThan(Hidden));
        List<RandomMatrix> matrices = [];
        try
        {
            WeightMatrix Random(int rows, int columns)
            {
                matrices.Add(new RandomMatrix(WeightFormat.Int4Group32, rows, columns, matrices.Count));
                return matrices[^1].Matrix;
            }

            MlpWeights[] experts = [.. s_tokens.Select(_ => new MlpWeights { Gate = Random(Inner, Hidden), Up = Random(Inner, Hidden), Down = Random(Hidden, Inner) })];
            ModelWeights model = ModelOf(experts);
            int tokens = times * s_tokens[0];
            var random = new Random(1);
            float[] x = [.. Enumerable.Range(0, tokens * Hidden).Select(_ => random.NextSingle() - 0.5f)];
            float[] factors = [.. Enumerable.Range(0, tokens * Chosen).Select(_ => random.NextSingle())];
            int[] others = [.. Enumerable.Range(1, s_tokens.Length - 1).SelectMany(e => Enumerable.Repeat(e, times * s_tokens[e]))];
            int[] choice = [.. others.SelectMany(e => new[] { 0, e })];
            float[] together = Run(model, kind, threads, x, choice, factors);
            for (int t = 0; t < tokens; t += times)
            {
                float[] alone = Run(model, TileKernelKind.Scalar, 1, x[(t * Hidden)..((t + 1) * Hidden)], choice[(t * Chosen)..((t + 1) * Chosen)], factors[(t * Chosen)..((t + 1) * Chosen)]);
                Assert.That(together[(t * Hidden)..((t + 1) * Hidden)], Is.EqualTo(alone), $"token {t}");
                Assert.That(alone, Has.Some.Not.Zero);
            }
        }
        finally
        {
            matrices.ForEach(m => m.Dispose());
        }
    }

    /// <summary>The least that goes through tiles, and the most that does not, before anything larger has made room.</summary>
    [Test]
    public void The_first_batch_of_a_model_may_be_as_large_as_stored_rows_take_and_one_more([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(0, 1)] int more)
    {
        using var gate = new RandomMatrix(WeightFormat.Int4Group32, Inner, Hidden, 1);
        using var up = new RandomMatrix(WeightFormat.Int4Group32, Inner, Hidden, 2);
        using var down = new RandomMatrix(WeightFormat.Int4Group32, Hidden, Inner, 3);
        var expert = new MlpWeights { Gate = gate.Matrix, Up = up.Matrix, Down = down.Matrix };
        ModelWeights model = ModelOf([expert, expert]);
        int tokens = TileKernel.Of(kind).MostStoredTokens + more;
        var random = new Random(1);
        float[] x = [.. Enumerable.Range(0, tokens * Hidden).Select(_ => random.NextSingle() - 0.5f)];
        float[] together = Run(model, kind, 1, x, [.. Enumerable.Range(0, tokens * Chosen).Select(i => i % Chosen)], [.. Enumerable.Repeat(0.5f, tokens * Chosen)]);
        for (int t = 0; t < tokens; t++)
        {
            Assert.That(together[(t * Hidden)..((t + 1) * Hidden)], Is.EqualTo(Run(model, TileKernelKind.Scalar, 1, x[(t * Hidden)..((t + 1) * Hidden)], [0, 1], [0.5f, 0.5f])), $"token {t}");
        }
    }

    private static float[] Run(ModelWeights model, TileKernelKind kind, int threads, float[] x, int[] choice, float[] factors)
    {
        using var pool = new WorkerPool(threads);
        using var store = new MappedExpertStore(model);
        using var experts = new CpuRoutedExperts(model, pool, ComputePrecision.Fast, TileKernel.Of(kind), shared: null, store);
        // What is in it does not matter.
        var sum = new float[x.Length];
        Array.Fill(sum, float.NaN);
        fixed (float* hidden = x, weights = factors)
        fixed (int* chosen = choice)
        {
            experts.Run(0, new RoutedRows(x.Length / Hidden, hidden, chosen, weights), sum);
        }

        return sum;
    }

    private static ModelWeights ModelOf(MlpWeights[] experts) => new()
    {
        Shape = Shapes.Small() with { HiddenSize = Hidden, LayerCount = 1, ExpertCount = experts.Length, ExpertsPerToken = Chosen, ExpertIntermediateSize = Inner },
        Embedding = default,
        FinalNorm = [],
        Head = default,
        Layers =
        [
            new LayerWeights
            {
                InputNorm = [],
                PostAttentionNorm = [],
                Experts = experts,
                Attention = new AttentionWeights { QueryA = default, QueryANorm = [], QueryB = default, KeyValueA = default, KeyValueANorm = [], KeyValueB = default, Output = default },
            },
        ],
    };
}
