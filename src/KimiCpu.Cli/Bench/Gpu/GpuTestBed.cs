// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>What kernels are measured on: random weights or caches to go through, activations, and the bandwidth around each measurement.</summary>
internal sealed class GpuTestBed : IDisposable
{
    /// <summary>More than the places of a layout are rounded up by.</summary>
    private const int Padding = 4096;

    private readonly GpuOwner _owner;
    private readonly GpuTimer _timer;
    private readonly GpuBandwidth _bandwidth;
    private readonly CancellationToken _cancellationToken;

    public GpuTestBed(CudaContext context, CudaStream stream, KernelSet kernels, GpuTimer timer, GpuBandwidth bandwidth, GpuBenchSizes sizes, CancellationToken cancellationToken)
    {
        (Context, Stream, Kernels, Sizes, _timer, _bandwidth, _cancellationToken) = (context, stream, kernels, sizes, timer, bandwidth, cancellationToken);
        _owner = new GpuOwner(context, stream);
        Workspace = new Workspace(sizes.Shape, sizes.MaxRows, sizes.Shape.ExpertIntermediateSize, lookAhead: false, KernelSet.SuitsAttendExpanded(sizes.Shape) ? Math.Min(ExpandedAttention.BlockTokens, (sizes.PromptContext + KvPage.Tokens - 1) / KvPage.Tokens * KvPage.Tokens) : 0);
        PoolBytes = BytesOfPool(sizes);
        long needed = PoolBytes + Workspace.Bytes;
        long free = GpuBench.FreeBytes(context);
        if (needed > free)
        {
            throw new CudaException($"Measuring the kernels takes {needed >> 20:N0} MiB of the GPU's memory; {free >> 20:N0} MiB are free. nvidia-smi shows who holds it.");
        }

        try
        {
            Pool = _owner.Own(new CudaDeviceVariable<byte>(context, PoolBytes)).DevicePointer;
            GpuRandom.Fill(context, stream, Pool, PoolBytes);
            ulong workspace = _owner.Own(new CudaDeviceVariable<byte>(context, Workspace.Bytes)).DevicePointer;
            GpuRandom.Fill(context, stream, workspace, Workspace.Bytes);
            Workspace.Place(workspace);
            stream.Clear(Workspace.Finished, sizeof(uint));
            Linear = new LinearProgram(kernels, Workspace, stream, LinearProgram.DefaultManyRows);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public CudaContext Context { get; }

    public CudaStream Stream { get; }

    public KernelSet Kernels { get; }

    public GpuBenchSizes Sizes { get; }

    /// <summary>Activations, random too.</summary>
    public Workspace Workspace { get; }

    public LinearProgram Linear { get; }

    /// <summary>Address of <see cref="PoolBytes"/> random bytes.</summary>
    public ulong Pool { get; }

    public long PoolBytes { get; }

    /// <summary>How many different ones of so many bytes are gone through.</summary>
    public int Copies(long bytes) => (int)Math.Max(1, Math.Min(Sizes.RotatedBytes, PoolBytes) / bytes);

    /// <summary>Weights of a format, as many different ones as rotate.</summary>
    /// <param name="format">BF16, FP8 or INT8.</param>
    /// <param name="rows">Outputs of each weight that has the same input: one or two.</param>
    /// <param name="columns">Inputs.</param>
    public DeviceWeight[][] Weights(DeviceFormat format, int[] rows, int columns)
    {
        long bytes = 0;
        DeviceWeight[][] copies = [Make()];
        return [.. copies, .. Enumerable.Range(1, Copies(bytes) - 1).Select(i => Make((ulong)(i * bytes)))];

        DeviceWeight[] Make(ulong offset = 0)
        {
            var layout = new DeviceLayout();
            DeviceWeight[] weights = [.. rows.Select(r => new DeviceWeight(SourceOf(format, r, columns), format, layout))];
            Array.ForEach(weights, w => w.Place(Pool + offset));
            bytes = layout.Bytes;
            return weights;
        }
    }

    /// <summary>Times a kernel over all of its inputs, beside the bandwidth before and after.</summary>
    /// <param name="result">What is known of it: all but times.</param>
    /// <param name="inputs">How many different weights or caches there are.</param>
    /// <param name="leastLaunches">That are timed together.</param>
    /// <param name="put">Puts the kernel into the stream, by the input's number.</param>
    public GpuKernelResult Time(GpuKernelResult result, int inputs, int leastLaunches, Action<int> put)
    {
        _cancellationToken.ThrowIfCancellationRequested();
        double before = ReadBandwidth();
        int launches = (leastLaunches + inputs - 1) / inputs * inputs;
        double seconds = _timer.Seconds(launches, Sizes.Repetitions, i => put(i % inputs));
        return result with { Seconds = seconds, Bandwidth = (before + ReadBandwidth()) / 2 };
    }

    public double ReadBandwidth() => _bandwidth.Read(Pool, PoolBytes);

    public double CopyBandwidth() => _bandwidth.Copy(Pool, PoolBytes);

    public void Dispose() => _owner.Dispose();

    /// <summary>Room for what rotates, and for the largest of all: a weight in BF16, as the head of Kimi K2, or a cache.</summary>
    private static long BytesOfPool(GpuBenchSizes sizes)
    {
        ModelShape shape = sizes.Shape;
        int hidden = shape.HiddenSize;
        int heads = shape.HeadCount;
        (int Rows, int Columns)[] weights =
        [
            (shape.QueryLoraRank + shape.CacheWidth, hidden),
            (heads * (shape.NopeHeadSize + shape.RopeHeadSize), shape.QueryLoraRank),
            (heads * (shape.NopeHeadSize + shape.ValueHeadSize), shape.KeyValueLoraRank),
            (hidden, heads * shape.ValueHeadSize),
            (3 * shape.ExpertIntermediateSize, hidden),
            (shape.VocabularySize, hidden),
        ];
        long largest = weights.Max(w => ((long)w.Rows * w.Columns * sizeof(ushort)) + Padding);
        return Math.Max(sizes.RotatedBytes, Math.Max(largest, GpuCache.LayerBytes(sizes, CacheFormat.BFloat16, Math.Max(sizes.PromptContext, sizes.DecodeContexts.Max()))));
    }

    /// <summary>A stored weight that has a format on the device. Only its sizes are looked at.</summary>
    private static unsafe WeightMatrix SourceOf(DeviceFormat format, int rows, int columns) => format == DeviceFormat.Float8
        ? new WeightMatrix(WeightFormat.Float8Block, rows, columns, null, null, 128, 128)
        : new WeightMatrix(WeightFormat.BFloat16, rows, columns, null);
}
