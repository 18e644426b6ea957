// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>The kernels of a decoded token one by one, launched as the hot path does: weights times a few rows, attention over the cache, an expert.</summary>
internal sealed class GpuDecodeKernels(GpuTestBed bed)
{
    private static readonly DeviceFormat[] s_formats = [DeviceFormat.BFloat16, DeviceFormat.Float8, DeviceFormat.Int8];

    private readonly ModelShape _shape = bed.Sizes.Shape;
    private readonly Workspace _memory = bed.Workspace;

    public IEnumerable<GpuKernelResult> Measure()
    {
        foreach (DeviceFormat format in s_formats)
        {
            foreach (int rows in bed.Sizes.DecodeRows)
            {
                foreach (GpuKernelResult result in Layer(format, rows))
                {
                    yield return result;
                }
            }
        }

        foreach (int rows in bed.Sizes.DecodeRows)
        {
            yield return Linear("router", DeviceFormat.BFloat16, rows, [_shape.ExpertCount], _shape.HiddenSize, LinearInput.Normalized, _memory.Residual, _memory.RouterLogits);
        }

        foreach (int context in bed.Sizes.DecodeContexts)
        {
            yield return Attention(CacheFormat.BFloat16, context);
            yield return Attention(CacheFormat.Int8, context);
        }

        using var expert = new GpuExpertKernels(bed);
        foreach (GpuKernelResult result in expert.Measure())
        {
            yield return result;
        }
    }

    /// <summary>What stands before the name of a kernel.</summary>
    public static string NameOf(DeviceFormat format) => format switch
    {
        DeviceFormat.BFloat16 => "BF16",
        DeviceFormat.Float8 => "FP8",
        _ => "INT8",
    };

    /// <summary>The same of a cache.</summary>
    public static string NameOf(CacheFormat format) => format == CacheFormat.BFloat16 ? "BF16" : "8-bit";

    private IEnumerable<GpuKernelResult> Layer(DeviceFormat format, int rows)
    {
        int hidden = _shape.HiddenSize;
        int inner = _shape.ExpertIntermediateSize;
        int heads = _shape.HeadCount;
        yield return Linear("q_a + kv_a", format, rows, [_shape.QueryLoraRank, _shape.CacheWidth], hidden, LinearInput.Normalized, _memory.Residual, _memory.QueryLatent, _memory.Latent);
        yield return Linear("q_b", format, rows, [heads * (_shape.NopeHeadSize + _shape.RopeHeadSize)], _shape.QueryLoraRank, LinearInput.Normalized, _memory.QueryLatent, _memory.Query);
        yield return Absorb(format, rows);
        yield return Expand(format, rows);
        yield return Linear("o_proj", format, rows, [hidden], heads * _shape.ValueHeadSize, LinearInput.Plain, _memory.Values, _memory.Shared);
        yield return Linear("shared gate + up", format, rows, [inner, inner], hidden, LinearInput.Normalized, _memory.Residual, _memory.Gate, gates: true);
        yield return Linear("shared down", format, rows, [hidden], inner, LinearInput.Plain, _memory.Gate, _memory.Shared);
        yield return Linear("head", format, rows, [_shape.VocabularySize], hidden, LinearInput.Normalized, _memory.Residual, _memory.Logits);
    }

    private GpuKernelResult Linear(string name, DeviceFormat format, int batch, int[] rows, int columns, LinearInput mode, ulong input, ulong output, ulong secondOutput = 0, bool gates = false)
    {
        DeviceWeight[][] weights = bed.Weights(format, rows, columns);
        return Time(
            $"{NameOf(format)} {name} {rows.Sum()}x{columns}, {Rows(batch)}",
            weights[0].Sum(w => w.Bytes),
            2.0 * batch * rows.Sum() * columns,
            weights.Length,
            i => bed.Linear.Put(
                new LinearLayer(weights[i][0], input, output)
                {
                    Mode = mode,
                    Aside = bed.Pool,
                    Epsilon = _shape.NormEpsilon,
                    Second = weights[i].Length > 1 ? weights[i][1] : null,
                    SecondOutput = secondOutput,
                    Gates = gates,
                },
                batch));
    }

    private GpuKernelResult Absorb(DeviceFormat format, int batch)
    {
        DeviceWeight[] weights = Expansion(format);
        return Time(
            $"{NameOf(format)} absorb {_shape.HeadCount}x{_shape.NopeHeadSize}x{_shape.KeyValueLoraRank}, {Rows(batch)}",
            (double)weights[0].Bytes * _shape.NopeHeadSize / (_shape.NopeHeadSize + _shape.ValueHeadSize),
            2.0 * batch * _shape.HeadCount * _shape.NopeHeadSize * _shape.KeyValueLoraRank,
            weights.Length,
            i => bed.Kernels.Absorb(bed.Stream, format, _shape.HeadCount, new AbsorbArguments
            {
                Expansion = weights[i].Matrix,
                Query = _memory.Query,
                Absorbed = _memory.Absorbed,
                Nope = (uint)_shape.NopeHeadSize,
                Rope = (uint)_shape.RopeHeadSize,
                Value = (uint)_shape.ValueHeadSize,
                Batch = (uint)batch,
                Scale = _shape.SoftmaxScale,
            }));
    }

    /// <summary>Also merges the splits of the cache, which it finds in the second-level cache.</summary>
    private GpuKernelResult Expand(DeviceFormat format, int batch)
    {
        DeviceWeight[] weights = Expansion(format);
        using var cache = new GpuCache(bed, CacheFormat.BFloat16, [.. Enumerable.Repeat(bed.Sizes.DecodeContexts[0], batch)]);
        return Time(
            $"{NameOf(format)} merge + expand {_shape.HeadCount}x{_shape.ValueHeadSize}x{_shape.KeyValueLoraRank}, {Rows(batch)}",
            (double)weights[0].Bytes * _shape.ValueHeadSize / (_shape.NopeHeadSize + _shape.ValueHeadSize),
            2.0 * batch * _shape.HeadCount * _shape.ValueHeadSize * _shape.KeyValueLoraRank,
            weights.Length,
            i => bed.Kernels.Expand(bed.Stream, format, _shape.HeadCount, batch, new ExpandArguments
            {
                Expansion = weights[i].Matrix,
                Partial = _memory.Partial,
                LogSums = _memory.LogSums,
                Lengths = cache.Of(0).Lengths,
                Values = _memory.Values,
                Nope = (uint)_shape.NopeHeadSize,
                Value = (uint)_shape.ValueHeadSize,
                MostSplits = (uint)bed.Kernels.MostSplits(_shape),
            }));
    }

    private GpuKernelResult Attention(CacheFormat format, int context)
    {
        int most = bed.Kernels.MostSplits(_shape);
        using var cache = new GpuCache(bed, format, [context]);
        return Time(
            $"MLA, {_shape.HeadCount} heads, {context} tokens of {NameOf(format)} cache, {Rows(1)}",
            (double)context * bed.Sizes.TokenBytes(format),
            2.0 * context * _shape.HeadCount * (_shape.CacheWidth + _shape.KeyValueLoraRank),
            cache.Layers,
            i => bed.Kernels.Attend(bed.Stream, format, KernelSet.Splits(context, most), 1, new AttendArguments
            {
                Cache = cache.Of(i),
                Absorbed = _memory.Absorbed,
                Partial = _memory.Partial,
                LogSums = _memory.LogSums,
                Heads = (uint)_shape.HeadCount,
                MostSplits = (uint)most,
            }));
    }

    private DeviceWeight[] Expansion(DeviceFormat format) =>
        [.. bed.Weights(format, [_shape.HeadCount * (_shape.NopeHeadSize + _shape.ValueHeadSize)], _shape.KeyValueLoraRank).Select(w => w[0])];

    private GpuKernelResult Time(string name, double bytes, double operations, int inputs, Action<int> put) =>
        bed.Time(new GpuKernelResult(name, bytes, operations, operations, 0, 0, GpuKernelResult.DecodeShare), inputs, bed.Sizes.DecodeLaunches, put);

    private static string Rows(int batch) => batch == 1 ? "1 row" : $"{batch} rows";
}
