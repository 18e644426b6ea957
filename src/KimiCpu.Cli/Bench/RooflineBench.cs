// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// Every kernel of a decoded token and of a prompt at the sizes of Kimi K2, over more different weights than the caches
/// hold, beside the bandwidth and the arithmetic measured right before and after it.
/// </summary>
internal sealed unsafe class RooflineBench : IDisposable
{
    private const int Hidden = 7168;
    private const int Inner = 2048;
    private const int ExpertCount = 32;
    private const int ExpertsPerToken = 8;
    private const int Heads = 64;
    private const int MostTokens = 512;
    private const int Repetitions = 5;

    /// <summary>Operations that products of BF16 do on the vector units for one in single precision, where they could be done in that, too.</summary>
    private static readonly int s_bfloat16Factor = CpuFeatures.HasFastBFloat16 ? 2 : 1;

    /// <summary>Tensors of a checkpoint lie behind a header of any multiple of eight bytes: seldom where a cache line begins.</summary>
    private const int TensorOffset = 8;

    private static readonly long s_expertBytes = 3L * Inner * Hidden * 18 / 32;

    private static readonly TimeSpan s_warmUp = TimeSpan.FromMilliseconds(500);

    private readonly WorkerPool _pool;
    private readonly TileKernel _kernel;
    private readonly MemoryBandwidthProbe _bandwidth;
    private readonly KernelCeilings _ceilings;
    private readonly AlignedBuffer<byte> _memory = new(TensorOffset + (ExpertCount * s_expertBytes));
    private readonly AlignedBuffer<float> _input = new(MostTokens * Hidden);
    private readonly AlignedBuffer<float> _output = new(MostTokens * Hidden);
    private readonly Random _random = new(2);

    public RooflineBench(int? threads, bool allowGeneratedCode = true)
    {
        _pool = new WorkerPool(threads);
        _kernel = TileKernel.Best(allowGeneratedCode);
        _bandwidth = MemoryBandwidthProbe.Large(_pool);
        _ceilings = new KernelCeilings(_pool, _kernel);
        for (int i = 0; i < _input.Capacity; i++)
        {
            _input.Pointer[i] = _random.NextSingle() - 0.5f;
        }
    }

    public int Threads => _pool.Threads;

    private byte* Weights => _memory.Pointer + TensorOffset;

    private long WeightBytes => _memory.Capacity - TensorOffset;

    public IEnumerable<RooflineResult> Measure(CancellationToken cancellationToken)
    {
        yield return Int4Gemv(Inner, Hidden, cancellationToken);
        yield return Int4Gemv(Hidden, Inner, cancellationToken);
        yield return FloatGemv(WeightFormat.BFloat16, cancellationToken);
        yield return FloatGemv(WeightFormat.Float8Block, cancellationToken);
        yield return Int8Gemv(cancellationToken);
        yield return MoeLayer(1, shared: true, cancellationToken);
        yield return MoeLayer(8, shared: false, cancellationToken);
        yield return MoeLayer(32, shared: false, cancellationToken);
        yield return MoeLayer(512, shared: false, cancellationToken);
        yield return Attention(4096, cancellationToken);
        yield return Attention(32768, cancellationToken);
    }

    /// <summary>
    /// Seconds that a run of the pool takes beyond its items, of which every thread has one, one run after another: what each step of
    /// a layer costs beside its work. The median of some series.
    /// </summary>
    public double Barrier()
    {
        const int Series = 51;
        const int Runs = 400;

        // Long enough that each thread begins with its own item before another one could take it, and nothing is shared meanwhile.
        long itemTicks = Stopwatch.Frequency / 100_000;
        var work = new PoolAction((begin, end, _) =>
        {
            for (long until = Stopwatch.GetTimestamp() + ((end - begin) * itemTicks); Stopwatch.GetTimestamp() < until;)
            {
                Thread.SpinWait(1);
            }
        });
        var seconds = new double[Series];
        for (int i = 0; i < Series; i++)
        {
            long start = Stopwatch.GetTimestamp();
            for (int run = 0; run < Runs; run++)
            {
                _pool.Run(_pool.Threads, work);
            }

            seconds[i] = (Stopwatch.GetElapsedTime(start).TotalSeconds / Runs) - ((double)itemTicks / Stopwatch.Frequency);
        }

        return Median(seconds);
    }

    public void Dispose()
    {
        _output.Dispose();
        _input.Dispose();
        _memory.Dispose();
        _bandwidth.Dispose();
        _pool.Dispose();
    }

    private RooflineResult Int4Gemv(int rows, int columns, CancellationToken cancellationToken)
    {
        WeightMatrix[] matrices = Int4Matrices(rows, columns);
        using var x = new QuantizedRows();
        x.Resize(1, columns);
        ActivationQuantizer.Quantize(_input.Pointer, columns, x.Row(0));
        WeightMatrix weight = default;
        const int Block = 16;
        var work = new PoolAction((begin, end, _) => _kernel.MultiplyStored(weight, begin * Block, Math.Min(end * Block, rows), x.Row(0), _output.Pointer)) { ReadsInStretches = true };
        return Time(
            $"INT4 GEMV {rows}x{columns}",
            matrices[0].TotalBytes,
            2.0 * rows * columns,
            (_ceilings.Bytes, 4),
            matrices.Length,
            i =>
            {
                weight = matrices[i];
                _pool.Run(rows / Block, work);
            },
            cancellationToken);
    }

    private RooflineResult FloatGemv(WeightFormat format, CancellationToken cancellationToken)
    {
        const int Block = 16;
        bool halves = format == WeightFormat.BFloat16;
        long dataBytes = (halves ? 2L : 1L) * Inner * Hidden;
        long matrixBytes = dataBytes + (halves ? 0 : 4L * Inner / 128 * Hidden / 128);
        int count = (int)(WeightBytes / matrixBytes);
        FillNumbers(halves);
        for (int i = 0; i < count && !halves; i++)
        {
            new Span<float>(Weights + (i * matrixBytes) + dataBytes, (int)(matrixBytes - dataBytes) / 4).Fill(0.01f);
        }

        WeightMatrix weight = default;
        BFloat16Products? products = halves ? _kernel.BFloat16Products : null;
        var stored = new StoredProducts(_kernel, ComputePrecision.Fast);
        using BFloat16Tiles? rounded = products is null ? null : new BFloat16Tiles(products.Tiles);
        rounded?.Resize(1, Hidden);
        rounded?.Write(0, _input.Pointer, Hidden);
        var work = new PoolAction((begin, end, _) =>
        {
            if (products is null)
            {
                stored.Multiply(weight, begin * Block, end * Block, _input.Pointer, Hidden, 1, _output.Pointer, Inner);
            }
            else
            {
                products.Multiply(weight, begin * Block, end * Block, rounded!, _output.Pointer, Inner);
            }
        })
        {
            ReadsInStretches = true,
        };
        return Time(
            $"{(halves ? "BF16" : "FP8")} GEMV {Inner}x{Hidden}",
            matrixBytes,
            2.0 * Inner * Hidden,
            (_ceilings.Compiled, (halves ? products is null : _kernel.Float8Products is null) ? 1 : s_bfloat16Factor),
            count,
            i =>
            {
                byte* data = Weights + (i * matrixBytes);
                weight = halves ? new WeightMatrix(format, Inner, Hidden, data) : new WeightMatrix(format, Inner, Hidden, data, data + dataBytes, 128, 128);
                _pool.Run(Inner / Block, work);
            },
            cancellationToken);
    }

    private RooflineResult Int8Gemv(CancellationToken cancellationToken)
    {
        long tileBytes = WeightTile.Bytes(Hidden);
        int tiles = WeightTile.TilesOf(Inner);
        int count = (int)(WeightBytes / (tileBytes * tiles));

        // A tile holds scales among its bytes: real copies, of random BF16.
        FillNumbers(halves: true);
        using var copies = new AlignedBuffer<byte>(count * tileBytes * tiles);
        var first = new WeightMatrix(WeightFormat.BFloat16, Inner, Hidden, Weights);
        _pool.Run(tiles, new PoolAction((begin, end, _) =>
        {
            for (int tile = begin; tile < end; tile++)
            {
                Int8Copies.WriteTile(first, tile * WeightTile.Rows, copies.Pointer + (tile * tileBytes));
            }
        }));
        for (int i = 1; i < count; i++)
        {
            Buffer.MemoryCopy(copies.Pointer, copies.Pointer + (i * tileBytes * tiles), tileBytes * tiles, tileBytes * tiles);
        }

        using var x = new TiledRows(_pool, _kernel);
        x.Set(_input.Pointer, 1, Hidden);
        byte* weight = null;
        var work = new PoolAction((begin, end, worker) =>
        {
            for (int tile = begin; tile < end; tile++)
            {
                x.Multiply(weight + (tile * tileBytes), _output.Pointer + (tile * WeightTile.Rows), Inner, worker);
            }
        })
        {
            ReadsInStretches = true,
        };
        return Time(
            $"8-bit copy GEMV {Inner}x{Hidden}",
            tileBytes * tiles,
            2.0 * Inner * Hidden,
            (_ceilings.Bytes, 4),
            count,
            i =>
            {
                weight = copies.Pointer + (i * tileBytes * tiles);
                _pool.Run(tiles, work);
            },
            cancellationToken);
    }

    /// <summary>One token with the shared expert is what decoding does; many tokens without it are the product of a prompt.</summary>
    private RooflineResult MoeLayer(int tokens, bool shared, CancellationToken cancellationToken)
    {
        WeightMatrix[] up = Int4Matrices(Inner, Hidden);
        MlpWeights[] experts = [.. Enumerable.Range(0, ExpertCount).Select(e => new MlpWeights
        {
            Gate = up[3 * e],
            Up = up[(3 * e) + 1],
            Down = new WeightMatrix(WeightFormat.Int4Group32, Hidden, Inner, up[(3 * e) + 2].Data, up[(3 * e) + 2].Scales),
        })];
        const long SharedBytes = 2L * Inner * Hidden;
        using var sharedWeights = new AlignedBuffer<ushort>((TensorOffset + (shared ? 3 * SharedBytes : 0)) / sizeof(ushort));
        new Span<ushort>(sharedWeights.Pointer, (int)sharedWeights.Capacity).Fill(BFloat16.FromSingle(0.01f));
        HotMatrix Stored(int index, int rows, int columns) =>
            new(new WeightMatrix(WeightFormat.BFloat16, rows, columns, (byte*)sharedWeights.Pointer + TensorOffset + (index * SharedBytes)));
        HotMlp? sharedMlp = shared ? new HotMlp(Stored(0, Inner, Hidden), Stored(1, Inner, Hidden), Stored(2, Hidden, Inner)) : null;
        using var sharedExpert = new SharedExpert([sharedMlp], _pool, _kernel, ComputePrecision.Fast);
        ModelWeights model = ModelOf(experts);
        using var store = new MappedExpertStore(model);
        using var routed = new CpuRoutedExperts(model, _pool, ComputePrecision.Fast, _kernel, sharedExpert, store);
        int steps = tokens == 1 ? ExpertCount / ExpertsPerToken : 1;
        int[] choice = [.. Enumerable.Range(0, steps * tokens).SelectMany(i => Choose(tokens == 1 ? i : null))];
        float[] weights = [.. Enumerable.Repeat(0.3f, tokens * ExpertsPerToken)];
        long sharedBytes = shared ? 3 * SharedBytes : 0;
        double product = 2.0 * 3 * Inner * Hidden;
        fixed (int* chosen = choice)
        fixed (float* factors = weights)
        {
            int* start = chosen;
            float* factor = factors;
            return Time(
                shared ? $"MoE layer, {ExpertsPerToken} INT4 experts + shared BF16, {tokens} token" : $"INT4 experts, {ExpertsPerToken} of {ExpertCount}, {tokens} tokens",
                (choice.Distinct().Count() / steps * s_expertBytes) + sharedBytes,
                product * tokens * (ExpertsPerToken + (shared ? 1 : 0)),
                (_ceilings.Bytes, 4),
                steps,
                i => routed.Run(0, new RoutedRows(tokens, _input.Pointer, start + (i * tokens * ExpertsPerToken), factor), _output.Span(0, tokens * Hidden)),
                cancellationToken);
        }
    }

    private IEnumerable<int> Choose(int? step)
    {
        if (step is { } s)
        {
            return Enumerable.Range(s * ExpertsPerToken, ExpertsPerToken);
        }

        int[] all = [.. Enumerable.Range(0, ExpertCount)];
        _random.Shuffle(all);
        return all.Take(ExpertsPerToken);
    }

    private RooflineResult Attention(int context, CancellationToken cancellationToken)
    {
        const int Layers = 4;
        ModelShape shape = ShapeOf(Layers);
        using var pages = new KvPages(shape, bfloat16: true);
        int[] table = [.. Enumerable.Range(0, context / KvPage.Tokens)];
        pages.Reserve(table.Length);
        float[] values = [.. Enumerable.Range(0, shape.CacheWidth).Select(_ => _random.NextSingle() - 0.5f)];
        for (int i = 0; i < context * Layers; i++)
        {
            pages.Write(i / Layers / KvPage.Tokens, i % Layers, i / Layers % KvPage.Tokens, values);
        }

        using var attention = new AttentionWork(shape, _pool, pages, _kernel.FastBFloat16Products);
        var batch = new RaggedBatch();
        batch.Add([0], context - 1, table, LogitsWanted.None);
        attention.Plan(batch);
        var finish = new PoolAction((begin, end, _) =>
        {
            for (int head = begin; head < end; head++)
            {
                attention.Finish(head);
            }
        });
        return Time(
            $"MLA decode, {Heads} heads, {context / 1024}K tokens of BF16 cache",
            (double)context * pages.SlotBytes,
            2.0 * context * Heads * (shape.CacheWidth + shape.KeyValueLoraRank),
            (_ceilings.Compiled, _kernel.FastBFloat16Products is null ? 1 : 2),
            Layers,
            i =>
            {
                attention.Run(i, _input.Pointer, _output.Pointer);
                _pool.Run(Heads, finish);
            },
            cancellationToken);
    }

    /// <summary>
    /// The median of passes over all inputs. The arithmetic is that of the kernel's vectors in single precision, and how many operations of the kernel's type
    /// they do for one of these.
    /// </summary>
    private RooflineResult Time(string name, double bytes, double operations, (ArithmeticProbe Ceiling, int Factor) arithmetic, int inputs, Action<int> run, CancellationToken cancellationToken)
    {
        // As long as the runtime needs to compile anew what is called often: a model is past that within its first answer.
        for (long begin = Stopwatch.GetTimestamp(), i = 0; Stopwatch.GetElapsedTime(begin) < s_warmUp; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            run((int)(i % inputs));
        }

        // Ceiling and kernel take turns and are both judged by the median: the best of one beside the median of the other would
        // be a share of moments that the kernel did not have.
        ReadOnlySpan<MemoryBandwidthProbe.Pattern> patterns = MemoryBandwidthProbe.Patterns;
        var reads = new double[patterns.Length][];
        for (int p = 0; p < reads.Length; p++)
        {
            reads[p] = new double[Repetitions];
        }

        var computed = new double[Repetitions];
        var seconds = new double[Repetitions];
        for (int r = 0; r < Repetitions; r++)
        {
            for (int p = 0; p < reads.Length; p++)
            {
                reads[p][r] = _bandwidth.MeasurePass(patterns[p]);
            }

            computed[r] = arithmetic.Ceiling.Measure();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < inputs; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                run(i);
            }

            seconds[r] = Stopwatch.GetElapsedTime(start).TotalSeconds / inputs;
        }

        return new RooflineResult(name, bytes, operations, Median(seconds), reads.Max(Median), arithmetic.Factor * Median(computed));
    }

    private static double Median(double[] values)
    {
        Array.Sort(values);
        return values[values.Length / 2];
    }

    /// <summary>As many different matrices as there is memory for: random weights, scales that keep magnitudes.</summary>
    private WeightMatrix[] Int4Matrices(int rows, int columns)
    {
        for (long at = 0; at < WeightBytes; at += 1 << 26)
        {
            _random.NextBytes(new Span<byte>(Weights + at, (int)Math.Min(1 << 26, WeightBytes - at)));
        }

        ushort scale = BFloat16.FromSingle(1 / MathF.Sqrt(21.25f * columns));
        long dataBytes = rows * Int4Group32.RowBytes(columns);
        int scales = rows * Int4Group32.GroupsPerRow(columns);
        long matrixBytes = dataBytes + (2L * scales);
        var matrices = new WeightMatrix[WeightBytes / matrixBytes];
        for (int i = 0; i < matrices.Length; i++)
        {
            byte* data = Weights + (i * matrixBytes);
            new Span<ushort>(data + dataBytes, scales).Fill(scale);
            matrices[i] = new WeightMatrix(WeightFormat.Int4Group32, rows, columns, data, data + dataBytes);
        }

        return matrices;
    }

    /// <summary>All of the memory.</summary>
    private void FillNumbers(bool halves)
    {
        byte[] pattern = WeightPattern.Of(_random, halves);
        for (long at = 0; at < WeightBytes; at += pattern.Length)
        {
            int count = (int)Math.Min(pattern.Length, WeightBytes - at);
            pattern.AsSpan(0, count).CopyTo(new Span<byte>(Weights + at, count));
        }
    }

    private static ModelWeights ModelOf(MlpWeights[] experts) => new()
    {
        Shape = ShapeOf(1),
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
                Attention = new AttentionWeights
                {
                    QueryA = default,
                    QueryANorm = [],
                    QueryB = default,
                    KeyValueA = default,
                    KeyValueANorm = [],
                    KeyValueB = default,
                    Output = default,
                },
            },
        ],
    };

    private static ModelShape ShapeOf(int layers) => new()
    {
        HiddenSize = Hidden,
        LayerCount = layers,
        VocabularySize = 1,
        HeadCount = Heads,
        QueryLoraRank = 1536,
        KeyValueLoraRank = 512,
        NopeHeadSize = 128,
        RopeHeadSize = 64,
        ValueHeadSize = 128,
        ExpertCount = ExpertCount,
        ExpertsPerToken = ExpertsPerToken,
        ExpertIntermediateSize = Inner,
        ExpertGroupCount = 1,
        ExpertGroupsPerToken = 1,
        NormalizeExpertWeights = true,
        RoutedScalingFactor = 2.827f,
        NormEpsilon = 1e-5f,
        MaxPositions = 131072,
        Rotary = new RotaryEmbedding(64, 50000, null),
        SoftmaxScale = 1,
    };
}
