// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.Experts;

/// <summary>
/// Of several tokens the shared expert's items have all, and those of a routed one a few: no thread may have them for itself. Of one token they are twice the bytes of the others.
/// </summary>
[TestFixture]
internal sealed unsafe class SharedExpertSharesTests
{
    private const int Hidden = 256;
    private const int Inner = 2048;
    private const int Experts = 32;

    /// <param name="tokens">Of a step.</param>
    /// <param name="chosen">Experts of each.</param>
    /// <param name="others">Products that other threads can compute while one stays at its first: of one token's 128 the thread that begins has 60 in its first take, where items count alike 108.</param>
    [TestCase(256, 2, 1)]
    [TestCase(1, 8, 40)]
    [CancelAfter(120_000)]
    public void Several_threads_compute_the_shared_expert(int tokens, int chosen, int others)
    {
        using var gate = new RandomMatrix(WeightFormat.BFloat16, Inner, Hidden, 1);
        using var down = new RandomMatrix(WeightFormat.BFloat16, Hidden, Inner, 2);
        using var routed = new RandomMatrix(WeightFormat.Int4Group32, Inner, Hidden, 3);
        using var routedDown = new RandomMatrix(WeightFormat.Int4Group32, Hidden, Inner, 4);
        var expert = new MlpWeights { Gate = routed.Matrix, Up = routed.Matrix, Down = routedDown.Matrix };
        ModelWeights model = ModelOf([.. Enumerable.Repeat(expert, Experts)], chosen);
        using var pool = new WorkerPool(8, new CpuTopology(CpuTopology.Unknown(8)), tie: false);
        using var copies = new Int8Copies(pool);
        HotMatrix rounded = copies.Copy(gate.Matrix);
        using var kernel = new WaitingTileKernel(others);
        using var shared = new SharedExpert([new HotMlp(rounded, rounded, copies.Copy(down.Matrix))], pool, kernel, ComputePrecision.Fast);
        using var store = new MappedExpertStore(model);
        using var experts = new CpuRoutedExperts(model, pool, ComputePrecision.Fast, kernel, shared, store);
        float[] x = [.. Enumerable.Range(0, tokens * Hidden).Select(i => (i % 13) - 6f)];
        int[] choice = [.. Enumerable.Range(0, tokens * chosen).Select(i => i % Experts)];
        float[] factors = [.. Enumerable.Repeat(0.5f, choice.Length)];
        var sum = new float[x.Length];
        fixed (float* hidden = x, weights = factors)
        fixed (int* ids = choice)
        {
            experts.Run(0, new RoutedRows(tokens, hidden, ids, weights), sum);
        }

        Assert.That(kernel.CameInTime, "a thread that computes the shared expert waited for others");
    }

    private static ModelWeights ModelOf(MlpWeights[] experts, int chosen) => new()
    {
        Shape = Shapes.Small() with { HiddenSize = Hidden, LayerCount = 1, ExpertCount = experts.Length, ExpertsPerToken = chosen, ExpertIntermediateSize = Inner },
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

    /// <summary>Multiplies nothing. Whoever comes first with weights of 8 bits, which the shared expert alone has, waits until other threads have come with so many.</summary>
    private sealed class WaitingTileKernel(int others) : TileKernel(TileKernelKind.Scalar), IDisposable
    {
        private readonly CountdownEvent _others = new(others);
        private int _first;

        public bool CameInTime { get; private set; } = true;

        public override int MaxTokens => 8;

        public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
        {
            if (!bits8 || _others.IsSet)
            {
                return;
            }

            int thread = Environment.CurrentManagedThreadId;
            int first = Interlocked.CompareExchange(ref _first, thread, 0);
            if (first != 0 && first != thread)
            {
                Signal();
            }
            else if (!_others.Wait(TimeSpan.FromSeconds(20)))
            {
                CameInTime = false;
                _others.Reset(0);
            }
        }

        public void Dispose() => _others.Dispose();

        private void Signal()
        {
            lock (_others)
            {
                if (!_others.IsSet)
                {
                    _others.Signal();
                }
            }
        }
    }
}
