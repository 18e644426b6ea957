// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>The kernels of prompts on the tensor cores: weights times many rows, with the splitting of their input, attention, and routed experts.</summary>
internal sealed class GpuPromptKernels(GpuTestBed bed)
{
    private readonly ModelShape _shape = bed.Sizes.Shape;
    private readonly Workspace _memory = bed.Workspace;

    public IEnumerable<GpuKernelResult> Measure()
    {
        foreach (DeviceFormat format in new[] { DeviceFormat.BFloat16, DeviceFormat.Float8, DeviceFormat.Int8 })
        {
            foreach (int rows in bed.Sizes.PromptRows)
            {
                yield return Multiply(format, rows);
            }
        }

        if (KernelSet.SuitsAttendRows(_shape))
        {
            yield return Attention(CacheFormat.BFloat16, bed.Sizes.PromptAttendedRows);
            yield return Attention(CacheFormat.Int8, bed.Sizes.PromptAttendedRows);
        }

        if (KernelSet.SuitsAttendExpanded(_shape))
        {
            foreach (DeviceFormat format in new[] { DeviceFormat.BFloat16, DeviceFormat.Float8, DeviceFormat.Int8 })
            {
                yield return AttentionOfExpanded(CacheFormat.BFloat16, format, bed.Sizes.PromptAttendedRows);
            }

            yield return AttentionOfExpanded(CacheFormat.Int8, DeviceFormat.Int8, bed.Sizes.PromptAttendedRows);
        }

        using var experts = new GpuExpertKernels(bed);
        foreach (GpuKernelResult result in experts.MeasureMany())
        {
            yield return result;
        }
    }

    private GpuKernelResult Multiply(DeviceFormat format, int batch)
    {
        int columns = _shape.HeadCount * _shape.ValueHeadSize;
        DeviceWeight[][] weights = bed.Weights(format, [_shape.HiddenSize], columns);
        double operations = 2.0 * batch * _shape.HiddenSize * columns;
        return bed.Time(
            new GpuKernelResult($"{GpuDecodeKernels.NameOf(format)} o_proj {_shape.HiddenSize}x{columns}, {batch} rows", 0, operations, 2 * operations, 0, 0, null),
            weights.Length,
            bed.Sizes.PromptLaunches,
            i => bed.Linear.Put(new LinearLayer(weights[i][0], _memory.Values, _memory.Residual), batch));
    }

    private GpuKernelResult Attention(CacheFormat format, int rows)
    {
        int first = bed.Sizes.PromptContext - rows + 1;
        int[] lengths = [.. Enumerable.Range(first, rows)];
        using var cache = new GpuCache(bed, format, lengths);
        double operations = lengths.Sum(l => 2.0 * l * _shape.HeadCount * (_shape.CacheWidth + _shape.KeyValueLoraRank));
        return bed.Time(
            new GpuKernelResult($"MLA, {_shape.HeadCount} heads, {rows} rows that see {first} to {bed.Sizes.PromptContext} tokens of {GpuDecodeKernels.NameOf(format)} cache", 0, operations, operations, 0, 0, null),
            cache.Layers,
            bed.Sizes.PromptLaunches,
            i => Attend(format, cache.Of(i), rows));
    }

    /// <summary>The same over keys and values that a weight in some format expands, its operations and those of expanding.</summary>
    private GpuKernelResult AttentionOfExpanded(CacheFormat cached, DeviceFormat format, int rows)
    {
        int first = bed.Sizes.PromptContext - rows + 1;
        int[] lengths = [.. Enumerable.Range(first, rows)];
        using var cache = new GpuCache(bed, cached, lengths);
        int expandedWidth = _shape.HeadCount * (_shape.NopeHeadSize + _shape.ValueHeadSize);
        DeviceWeight[][] weights = bed.Weights(format, [expandedWidth], _shape.KeyValueLoraRank);
        var attention = new ExpandedAttention(_shape, bed.Kernels, _memory, bed.Stream, cached, rows);
        var sequence = new BatchSequence(0, rows, first - 1, default);
        double operations = (2.0 * bed.Sizes.PromptContext * expandedWidth * _shape.KeyValueLoraRank)
            + lengths.Sum(l => 2.0 * l * _shape.HeadCount * (_shape.NopeHeadSize + _shape.RopeHeadSize + _shape.ValueHeadSize));
        return bed.Time(
            new GpuKernelResult($"MLA expanded by {GpuDecodeKernels.NameOf(format)}, {_shape.HeadCount} heads, {rows} rows that see {first} to {bed.Sizes.PromptContext} tokens of {GpuDecodeKernels.NameOf(cached)} cache", 0, operations, operations, 0, 0, null),
            cache.Layers,
            bed.Sizes.PromptLaunches,
            i => attention.Put(weights[i % weights.Length][0], cache.Of(i), sequence));
    }

    private void Attend(CacheFormat format, CacheArguments cache, int rows)
    {
        for (int first = 0; first < rows; first += Workspace.PromptAttendRows)
        {
            CacheArguments ofRows = cache;
            ofRows.Lengths += (ulong)first * sizeof(uint);
            ofRows.Tables += (ulong)first * sizeof(uint);
            bed.Kernels.AttendRows(bed.Stream, format, Math.Min(Workspace.PromptAttendRows, rows - first), new AttendRowsArguments
            {
                Cache = ofRows,
                Absorbed = _memory.Absorbed,
                Attended = _memory.Partial,
                Heads = (uint)_shape.HeadCount,
            });
        }
    }
}
