// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>The GPU's part of a decoded token, over all layers, by the hot path's own program and recordings; weights and cache are random.</summary>
internal sealed unsafe class GpuDecodeStep : IDisposable
{
    /// <summary>A share of the free memory that stays free, for recordings and the driver.</summary>
    private const int ReserveShare = 20;

    private readonly GpuBenchSizes _sizes;
    private readonly ModelWeights _weights;
    private readonly DeviceWeights _device;
    private readonly CudaStream _stream;
    private readonly GpuOwner _owner;
    private readonly ulong _weightMemory;
    private readonly StepInputs _step;
    private readonly HandOver _handOver;
    private readonly RaggedBatch _batch = new();
    private readonly ulong _residual;
    private readonly CudaPageLockedHostMemory<float> _embedding;
    private readonly float[] _answer;
    private readonly CudaGraphExec[] _attend;
    private readonly CudaGraphExec?[] _shared;
    private readonly CudaGraphExec _end;
    private uint _flagBase;

    /// <param name="context">The GPU.</param>
    /// <param name="stream">Where to.</param>
    /// <param name="kernels">Of the GPU.</param>
    /// <param name="sizes">Of the model.</param>
    /// <param name="layers">So many of it: see <see cref="LayersThatFit"/>.</param>
    public GpuDecodeStep(CudaContext context, CudaStream stream, KernelSet kernels, GpuBenchSizes sizes, int layers)
    {
        (_sizes, _stream) = (sizes, stream);
        _owner = new GpuOwner(context, stream);
        _weights = GpuStepWeights.Of(sizes, layers);
        _device = GpuStepWeights.OnDevice(_weights);
        ModelShape shape = _weights.Shape;
        _answer = new float[shape.HiddenSize];
        int pages = PagesOf(sizes);
        try
        {
            _weightMemory = _owner.Own(new CudaDeviceVariable<byte>(context, _device.Bytes)).DevicePointer;
            GpuRandom.Fill(context, stream, _weightMemory, _device.Bytes);
            _device.Place(_weightMemory);
            Workspace workspace = MemoryPlan.WorkspaceOf(_weights, 1, lookAhead: false, expandedTokens: 0);
            ulong workspaceMemory = _owner.Own(new CudaDeviceVariable<byte>(context, workspace.Bytes)).DevicePointer;
            GpuRandom.Fill(context, stream, workspaceMemory, workspace.Bytes);
            workspace.Place(workspaceMemory);
            stream.Clear(workspace.Finished, sizeof(uint));
            _residual = workspace.Residual;
            _embedding = _owner.Own(new CudaPageLockedHostMemory<float>(context, shape.HiddenSize));
            var random = new Random(2);
            foreach (ref float value in _embedding.Span)
            {
                value = random.NextSingle() - 0.5f;
            }

            var cache = _owner.Own(new DevicePages(context, stream, shape, CacheFormat.BFloat16, pages));
            GpuRandom.Fill(context, stream, cache.Layer(0), cache.BytesPerPage * pages);
            _step = _owner.Own(new StepInputs(context, shape, 1, pages));
            _handOver = _owner.Own(new HandOver(context, shape, 1, lookAhead: false));
            ulong firstRow = _owner.Own(new CudaDeviceVariable<uint>(context, 1)).DevicePointer;
            stream.Clear(firstRow, sizeof(uint));
            stream.Synchronize();
            _batch.Add([0], sizes.StepContext - 1, Enumerable.Range(0, pages).ToArray(), LogitsWanted.Last);
            var program = new LayerProgram(shape, _device, kernels, workspace, _step, _handOver, cache, stream, LinearProgram.DefaultManyRows, ExpandedAttention.FewestRows(shape), experts: null);
            int splits = KernelSet.GridSplits(sizes.StepContext, kernels.MostSplits(shape));
            CudaGraphExec Record(Action put) => _owner.Own(CudaGraphExec.Capture(context, stream, put));
            _attend = [.. Enumerable.Range(0, layers).Select(l => Record(() => program.Attend(l, 1, splits, _batch.Sequences)))];
            _shared = [.. Enumerable.Range(0, layers).Select(l => IsMoe(l) ? Record(() => program.Shared(l, 1)) : null)];
            _end = Record(() =>
            {
                program.Finish(layers - 1, 1);
                program.Head(firstRow, 1);
            });
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>How many layers find room; 0 where not even a dense and an MoE layer do.</summary>
    public static int LayersThatFit(GpuBenchSizes sizes, long freeBytes)
    {
        long spendable = freeBytes - (freeBytes / ReserveShare);
        for (int layers = sizes.Shape.LayerCount; layers > sizes.DenseLayers; layers--)
        {
            ModelWeights weights = GpuStepWeights.Of(sizes, layers);
            long cache = DevicePages.BytesOfPage(weights.Shape, CacheFormat.BFloat16) * PagesOf(sizes);
            if (GpuStepWeights.OnDevice(weights).Bytes + cache + MemoryPlan.WorkspaceOf(weights, 1, lookAhead: false, expandedTokens: 0).Bytes + StepInputs.DeviceBytes(weights.Shape, 1, PagesOf(sizes)) <= spendable)
            {
                return layers;
            }
        }

        return 0;
    }

    public GpuStepResult Measure(GpuTimer timer, GpuBandwidth bandwidth, CancellationToken cancellationToken)
    {
        _step.Send(_batch, _flagBase, _stream);
        double before = bandwidth.Read(_weightMemory, _device.Bytes);
        double seconds = timer.Seconds(_sizes.Steps, () => Run(asksHost: false));
        double after = bandwidth.Read(_weightMemory, _device.Bytes);
        var withHost = new double[_sizes.Steps];
        for (int i = -1; i < withHost.Length; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();

            // Another base, so that no flag is one that was raised before.
            _flagBase += (uint)_attend.Length;
            _step.Send(_batch, _flagBase, _stream);
            Run(asksHost: true);
            _stream.Synchronize();
            if (i >= 0)
            {
                withHost[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            }
        }

        Array.Sort(withHost);
        double bytes = _device.Bytes + ((double)_sizes.StepContext * _sizes.TokenBytes(CacheFormat.BFloat16) * _attend.Length);
        return new GpuStepResult(_attend.Length, _sizes.Shape.LayerCount, _sizes.StepContext, bytes, seconds, withHost[withHost.Length / 2], (before + after) / 2);
    }

    public void Dispose() => _owner.Dispose();

    private static int PagesOf(GpuBenchSizes sizes) => (sizes.StepContext + KvPage.Tokens - 1) / KvPage.Tokens;

    private bool IsMoe(int layer) => _weights.Layers[layer].IsMoe;

    private void Run(bool asksHost)
    {
        _stream.CopyToDevice(_residual, _embedding.Pointer, _embedding.Length * sizeof(float));
        for (int layer = 0; layer < _attend.Length; layer++)
        {
            _attend[layer].Launch(_stream);
            _shared[layer]?.Launch(_stream);
            if (asksHost && IsMoe(layer))
            {
                _handOver.Receive(_flagBase + (uint)layer, 1, layer, _stream, predicted: false);
                _answer.CopyTo(_handOver.RoutedOnHost);
            }
        }

        _end.Launch(_stream);
    }
}
