// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// Memory that host and device see both, through which an MoE layer's hidden rows and choice of experts come to the CPU and
/// the routed sum goes back. No call of the driver waits: the device raises a flag when its rows are written, and the host
/// writes the sum before it launches what reads it.
/// </summary>
internal sealed unsafe class HandOver : IDisposable
{
    /// <summary>How often a waiting host looks whether the GPU is still alive.</summary>
    private static readonly TimeSpan s_lookAfter = TimeSpan.FromMicroseconds(100);

    private readonly CudaContext _context;
    private readonly Stack<IDisposable> _owned = [];
    private readonly CudaPageLockedHostMemory<float> _hidden;
    private readonly CudaPageLockedHostMemory<int> _experts;
    private readonly CudaPageLockedHostMemory<float> _weights;
    private readonly CudaPageLockedHostMemory<int>? _predicted;
    private readonly CudaPageLockedHostMemory<uint> _flag;
    private readonly CudaPageLockedHostMemory<float> _routed;

    /// <param name="context">The GPU.</param>
    /// <param name="shape">Of the model.</param>
    /// <param name="maxRows">Most tokens of a pass.</param>
    /// <param name="lookAhead">Whether there is room for guesses of the next layer's experts.</param>
    public HandOver(CudaContext context, ModelShape shape, int maxRows, bool lookAhead)
    {
        _context = context;
        try
        {
            _hidden = Own(new CudaPageLockedHostMemory<float>(context, (long)maxRows * shape.HiddenSize));
            _experts = Own(new CudaPageLockedHostMemory<int>(context, Math.Max(1, (long)maxRows * shape.ExpertsPerToken)));
            _weights = Own(new CudaPageLockedHostMemory<float>(context, Math.Max(1, (long)maxRows * shape.ExpertsPerToken)));
            _predicted = lookAhead ? Own(new CudaPageLockedHostMemory<int>(context, Math.Max(1, (long)maxRows * shape.ExpertsPerToken))) : null;
            _flag = Own(new CudaPageLockedHostMemory<uint>(context, 1));
            _routed = Own(new CudaPageLockedHostMemory<float>(context, (long)maxRows * shape.HiddenSize));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Addresses for the device.</summary>
    public ulong Hidden => _hidden.DevicePointer;

    public ulong Experts => _experts.DevicePointer;

    public ulong Weights => _weights.DevicePointer;

    /// <summary>0 where nobody looks ahead.</summary>
    public ulong Predicted => _predicted?.DevicePointer ?? 0;

    public ulong Flag => _flag.DevicePointer;

    public ulong Routed => _routed.DevicePointer;

    /// <summary>The same for the host, which writes the routed sum (rows, hidden) here.</summary>
    public Span<float> RoutedOnHost => _routed.Span;

    /// <summary>Waits for the flag and gives what was handed over.</summary>
    /// <param name="flag">What the device raises it to.</param>
    /// <param name="rows">Of the batch.</param>
    /// <param name="layer">For the message.</param>
    /// <param name="stream">Where the work is.</param>
    /// <param name="predicted">Whether the layer guesses the experts of a later one.</param>
    /// <exception cref="GpuLostException">The flag is not raised.</exception>
    public RoutedRows Receive(uint flag, int rows, int layer, CudaStream stream, bool predicted)
    {
        var time = new WaitedTime();
        var spin = new SpinWait();

        // The first look also sends off what a driver may hold back, as those under Windows do.
        TimeSpan nextLook = TimeSpan.Zero;
        while (Volatile.Read(ref *_flag.Pointer) != flag)
        {
            TimeSpan waited = time.Look();
            if (waited < nextLook)
            {
                spin.SpinOnce(sleep1Threshold: -1);
                continue;
            }

            nextLook = waited + s_lookAfter;
            if (stream.IsDone() && Volatile.Read(ref *_flag.Pointer) != flag)
            {
                throw _context.Lose($"finished its work of layer {layer} without saying so");
            }

            if (waited > _context.Patience)
            {
                throw _context.GiveUp($"finished layer {layer}");
            }
        }

        return new RoutedRows(rows, _hidden.Pointer, _experts.Pointer, _weights.Pointer, predicted ? _predicted!.Pointer : null);
    }

    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }
}
