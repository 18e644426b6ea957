// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>
/// The way of a layer's rows to the host and back: the last kernel of a layer raises the flag, the host sees it, writes its
/// answer, and launches the next layer, whose first kernel reads that. Only these two kernels run.
/// </summary>
internal sealed unsafe class GpuRoundTrip : IDisposable
{
    /// <summary>Turns that do not count.</summary>
    private const int WarmUp = 8;

    private readonly GpuTestBed _bed;
    private readonly ModelShape _shape;
    private readonly GpuOwner _owner;
    private readonly HandOver _handOver;
    private readonly CudaDeviceVariable<uint> _scratch;

    public GpuRoundTrip(GpuTestBed bed)
    {
        _bed = bed;
        _shape = bed.Sizes.Shape;
        _owner = new GpuOwner(bed.Context, bed.Stream);
        try
        {
            _handOver = _owner.Own(new HandOver(bed.Context, _shape, 1, lookAhead: false));
            _scratch = _owner.Own(new CudaDeviceVariable<uint>(bed.Context, 3 + (2 * _shape.ExpertsPerToken)));
            bed.Stream.Clear(_scratch.DevicePointer, _scratch.Length * sizeof(uint));
            bed.Stream.Synchronize();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private ulong FlagBase => _scratch.DevicePointer;

    private ulong NotFinite => _scratch.DevicePointer + sizeof(uint);

    public GpuRoundTripResult Measure(GpuTimer timer, CancellationToken cancellationToken)
    {
        double kernels = timer.Seconds(_bed.Sizes.DecodeLaunches, _bed.Sizes.Repetitions, _ => PutOnDevice());

        // Two layers that take turns, so that the flag becomes another one each time.
        CudaGraphExec[] layers = [.. Enumerable.Range(1, 2).Select(l => _owner.Own(CudaGraphExec.Capture(_bed.Context, _bed.Stream, () => Put((uint)l))))];
        float[] answer = new float[_shape.HiddenSize];
        var turns = new double[_bed.Sizes.RoundTrips];
        _bed.Stream.Synchronize();
        for (int turn = -WarmUp; turn < turns.Length; turn++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int layer = 1 + (turn & 1);
            long start = Stopwatch.GetTimestamp();
            answer.CopyTo(_handOver.RoutedOnHost);
            layers[layer - 1].Launch(_bed.Stream);
            _handOver.Receive((uint)layer, 1, layer, _bed.Stream, predicted: false);
            if (turn >= 0)
            {
                turns[turn] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            }
        }

        _bed.Stream.Synchronize();
        Array.Sort(turns);
        return new GpuRoundTripResult(turns, kernels);
    }

    public void Dispose() => _owner.Dispose();

    private void Put(uint layer)
    {
        Finish(_handOver.Routed);
        Route(layer, _handOver.Hidden, _handOver.Experts, _handOver.Weights, _handOver.Flag);
    }

    /// <summary>The same work where nothing leaves the GPU.</summary>
    private void PutOnDevice()
    {
        ulong ids = NotFinite + (2 * sizeof(uint));
        Finish(_bed.Workspace.Gate);
        Route(1, _bed.Workspace.Shared, ids, ids + ((ulong)_shape.ExpertsPerToken * sizeof(uint)), NotFinite + sizeof(uint));
    }

    private void Finish(ulong routed) => _bed.Kernels.Finish(_bed.Stream, 1, new FinishArguments
    {
        Residual = _bed.Workspace.Residual,
        Routed = routed,
        NotFinite = NotFinite,
        Size = (uint)_shape.HiddenSize,
    });

    private void Route(uint layer, ulong hidden, ulong ids, ulong weights, ulong flag) => _bed.Kernels.Route(_bed.Stream, 1, new RouteArguments
    {
        Residual = _bed.Workspace.Residual,
        Gain = _bed.Pool,
        Logits = _bed.Workspace.RouterLogits,
        Bias = _bed.Pool,
        Hidden = hidden,
        Ids = ids,
        Weights = weights,
        Flag = flag,
        FlagBase = FlagBase,
        Finished = _bed.Workspace.Finished,
        Size = (uint)_shape.HiddenSize,
        Experts = (uint)_shape.ExpertCount,
        Chosen = (uint)_shape.ExpertsPerToken,
        Groups = (uint)_shape.ExpertGroupCount,
        GroupsChosen = (uint)_shape.ExpertGroupsPerToken,
        Normalize = 1,
        Layer = layer,
        Epsilon = _shape.NormEpsilon,
        Factor = _shape.RoutedScalingFactor,
    });
}
