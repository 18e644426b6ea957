// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// A few places that experts pass through on their way to the GPU's kernels: while one is gathered in page-locked memory, the one before is
/// copied and the one before that is multiplied. A stream of its own copies; two marks a place say when its buffer and its slot may be
/// written again. The bytes are gathered by the thread that asks and <see cref="CopyThreads"/>.
/// </summary>
internal sealed unsafe class ExpertRing : IDisposable
{
    /// <summary>Places: gathered, copied, multiplied.</summary>
    public const int Slots = 3;

    /// <summary>What a thread gathers at a time.</summary>
    private const long PieceBytes = 1 << 20;

    /// <summary>A core copies some 10 GB/s, a link takes 12 to 50. With the one that asks.</summary>
    private const int MostThreads = 4;

    private readonly ExpertSlotLayout _layout;
    private readonly CudaStream _compute;
    private readonly Stack<IDisposable> _owned = [];
    private readonly CudaStream _copies;
    private readonly CopyThreads _threads;
    private readonly CudaDeviceVariable<byte> _slots;
    private readonly CudaPageLockedHostMemory<byte>[] _buffers = new CudaPageLockedHostMemory<byte>[Slots];
    private readonly CudaEvent[] _copied = new CudaEvent[Slots];
    private readonly CudaEvent[] _multiplied = new CudaEvent[Slots];
    private int _next;

    /// <param name="context">The GPU.</param>
    /// <param name="compute">Where kernels run.</param>
    /// <param name="layout">Of an expert.</param>
    public ExpertRing(CudaContext context, CudaStream compute, ExpertSlotLayout layout)
    {
        _layout = layout;
        _compute = compute;
        try
        {
            _threads = Own(new CopyThreads(Math.Clamp(Environment.ProcessorCount / 4, 1, MostThreads) - 1));
            _copies = Own(new CudaStream(context) { Collects = compute.Collects });
            _slots = Own(new CudaDeviceVariable<byte>(context, Slots * layout.Bytes));
            for (int i = 0; i < Slots; i++)
            {
                _buffers[i] = Own(new CudaPageLockedHostMemory<byte>(context, layout.Bytes));
                _copied[i] = Own(new CudaEvent(context));
                _multiplied[i] = Own(new CudaEvent(context));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Brings an expert to the GPU, and has its kernels put behind that. Waits until a buffer is free, and then for the expert.</summary>
    /// <param name="experts">Hands the expert over.</param>
    /// <param name="expert">Which one.</param>
    /// <param name="put">Puts kernels into the stream of the passes, for the expert's place.</param>
    /// <returns>False where it does not come any more.</returns>
    public bool Pass(PassingExperts experts, int expert, Action<ExpertSlotsArguments> put)
    {
        int place = _next;
        ulong slot = _slots.DevicePointer + (ulong)(place * _layout.Bytes);
        _copied[place].Synchronize();
        if (experts.Take(expert) is not { } weights)
        {
            return false;
        }

        try
        {
            Gather(weights, _buffers[place].Pointer);
        }
        finally
        {
            experts.Return();
        }

        _next = (_next + 1) % Slots;
        _copies.Wait(_multiplied[place]);
        _copies.CopyToDevice(slot, _buffers[place].Pointer, _layout.Bytes);
        _copied[place].Record(_copies);
        _compute.Wait(_copied[place]);
        put(_layout.At(slot));
        _multiplied[place].Record(_compute);

        // The next expert takes a millisecond or two to gather, and nobody asks about these before.
        _copies.SendOff();
        _compute.SendOff();
        return true;
    }

    /// <summary>Waits until all experts that have passed are multiplied.</summary>
    public void WaitForLast() => _multiplied[(_next + Slots - 1) % Slots].Synchronize();

    /// <summary>Waits until no copy is under way, whatever else has failed.</summary>
    public void Synchronize() => _copies.Synchronize();

    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    private void Gather(MlpWeights expert, byte* target)
    {
        if (_layout.Bytes <= PieceBytes)
        {
            _layout.Copy(expert, target);
            return;
        }

        SlotPart[] pieces = [.. _layout.Parts(expert).SelectMany(part => Cut(part))];
        _threads.Run(pieces.Length, i => Buffer.MemoryCopy((void*)pieces[i].Source, target + pieces[i].Offset, pieces[i].Bytes, pieces[i].Bytes));
    }

    private static IEnumerable<SlotPart> Cut(SlotPart part)
    {
        for (long at = 0; at < part.Bytes; at += PieceBytes)
        {
            yield return new SlotPart(part.Source + (nint)at, part.Offset + at, Math.Min(PieceBytes, part.Bytes - at));
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }
}
