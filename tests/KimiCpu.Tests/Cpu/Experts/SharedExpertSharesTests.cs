// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.Experts;

/// <summary>Of several tokens the shared expert's items have all, and those of a routed one a few: no thread may have them for itself.</summary>
[TestFixture]
internal sealed unsafe class SharedExpertSharesTests
{
    private const int Hidden = 256;
    private const int Inner = 2048;
    private const int Tokens = 256;
    private const int Experts = 32;
    private const int Chosen = 2;

    [Test]
    [CancelAfter(120_000)]
    public void Several_threads_compute_the_shared_expert_of_a_prompt()
    {
        using var gate = new RandomMatrix(WeightFormat.BFloat16, Inner, Hidden, 1);
        using var down = new RandomMatrix(WeightFormat.BFloat16, Hidden, Inner, 2);
        using var routed = new RandomMatrix(WeightFormat.Int4Group32, Inner, Hidden, 3);
        using var routedDown = new RandomMatrix(WeightFormat.Int4Group32, Hidden, Inner, 4);
        var expert = new MlpWeights { Gate = routed.Matrix, Up = routed.Matrix, Down = routedDown.Matrix };
        ModelWeights model = ModelOf([.. Enumerable.Repeat(expert, Experts)]);
        using var pool = new WorkerPool(8, new CpuTopology(CpuTopology.Unknown(8)), tie: false);
        using var copies = new Int8Copies(pool);
        HotMatrix rounded = copies.Copy(gate.Matrix);
        using var kernel = new WaitingTileKernel();
        using var shared = new SharedExpert([new HotMlp(rounded, rounded, copies.Copy(down.Matrix))], pool, kernel, ComputePrecision.Fast);
        using var store = new MappedExpertStore(model);
        using var experts = new CpuRoutedExperts(model, pool, ComputePrecision.Fast, kernel, shared, store);
        float[] x = [.. Enumerable.Range(0, Tokens * Hidden).Select(i => (i % 13) - 6f)];
        int[] choice = [.. Enumerable.Range(0, Tokens * Chosen).Select(i => i % Experts)];
        float[] factors = [.. Enumerable.Repeat(0.5f, choice.Length)];
        var sum = new float[x.Length];
        fixed (float* hidden = x, weights = factors)
        fixed (int* chosen = choice)
        {
            experts.Run(0, new RoutedRows(Tokens, hidden, chosen, weights), sum);
        }

        Assert.That(kernel.CameInTime, "a thread that computes the shared expert waited for another one");
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

    /// <summary>Multiplies nothing. Whoever comes with weights of 8 bits, which the shared expert alone has, waits until a second thread does.</summary>
    private sealed class WaitingTileKernel() : TileKernel(TileKernelKind.Scalar), IDisposable
    {
        private readonly ConcurrentDictionary<int, bool> _threads = new();
        private readonly ManualResetEventSlim _several = new();

        public bool CameInTime { get; private set; } = true;

        public override int MaxTokens => 8;

        public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
        {
            if (!bits8)
            {
                return;
            }

            _threads.TryAdd(Environment.CurrentManagedThreadId, true);
            if (_threads.Count > 1)
            {
                _several.Set();
            }
            else if (!_several.Wait(TimeSpan.FromSeconds(20)))
            {
                CameInTime = false;
                _several.Set();
            }
        }

        public void Dispose() => _several.Dispose();
    }
}
