// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// Routed experts in memory of the GPU that nothing else needs, and who is where. Between passes one may take another one's place: its
/// bytes are gathered in page-locked memory beside the passes, and go to the GPU a piece a pass, so that no pass waits long. While
/// they are on their way neither of the two is here. All but the gathering is done by the thread that runs the passes.
/// </summary>
internal sealed unsafe class HotExperts : IDisposable
{
    /// <summary>In slot tables: the CPU has the expert. no_slot of Kernels/experts.cu.</summary>
    private const uint NoSlot = uint.MaxValue;

    /// <summary>What a pass sends of an expert that moves: 0.2 ms of a PCIe 4 link.</summary>
    private const long PieceBytes = 4 << 20;

    /// <summary>For a drive that has not answered, as <c>DriveReaders</c> has for it.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly ModelWeights _weights;
    private readonly ExpertSlotLayout _layout;
    private readonly ExpertSource _source;
    private readonly IExpertPlacement _placement;
    private readonly CudaStream _stream;
    private readonly Stack<IDisposable> _owned = [];
    private readonly CudaDeviceVariable<byte> _slots;
    private readonly CudaDeviceVariable<uint> _table;
    private readonly CudaPageLockedHostMemory<uint> _tableOnHost;
    private readonly CudaPageLockedHostMemory<byte> _gathered;
    private readonly CudaEvent _gatheredSent;
    private readonly WorkThread _gatherer;
    private readonly ExpertFiles? _files;
    private readonly bool[] _held;
    private ExpertMove? _move;
    private uint _slot;
    private long _sent;

    /// <param name="context">The GPU.</param>
    /// <param name="stream">Of the passes.</param>
    /// <param name="weights">Of the model; experts are read from here while the model runs, unless they have files.</param>
    /// <param name="plan">Has one slot at least.</param>
    /// <param name="placement">Decides.</param>
    /// <param name="files">Where a store reads the experts from; null where they are used in the mapping.</param>
    public HotExperts(CudaContext context, CudaStream stream, ModelWeights weights, MemoryPlan plan, IExpertPlacement placement, ExpertFiles? files)
    {
        _weights = weights;
        _layout = ExpertSlotLayout.Of(weights)!;
        _source = new ExpertSource(weights, files, _layout);
        _files = files;
        _placement = placement;
        _stream = stream;
        ModelShape shape = weights.Shape;
        int keys = shape.LayerCount * shape.ExpertCount;
        _held = GC.AllocateArray<bool>(keys, pinned: true);
        try
        {
            SlotCount = plan.ExpertSlots;
            _tableOnHost = Own(new CudaPageLockedHostMemory<uint>(context, keys));
            _gathered = Own(new CudaPageLockedHostMemory<byte>(context, _layout.Bytes));
            _slots = Own(new CudaDeviceVariable<byte>(context, SlotCount * _layout.Bytes));
            _table = Own(new CudaDeviceVariable<uint>(context, keys));
            _gatheredSent = Own(new CudaEvent(context));
            _tableOnHost.Span.Fill(NoSlot);
            _gatherer = new WorkThread("kimi-gpu-gather");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public int SlotCount { get; }

    /// <summary>Experts that have come in since the model was opened.</summary>
    public int Moves { get; private set; }

    /// <summary>Whether the bytes of the expert that moves are still being put together.</summary>
    public bool IsGathering => _gatherer.IsWorking;

    /// <summary>By key: which ones are here.</summary>
    public ReadOnlySpan<bool> Held => _held;

    public ExpertSlotsArguments Slots => _layout.At(_slots.DevicePointer);

    /// <summary>(experts) of a layer, for kernels.</summary>
    public ulong SlotsOf(int layer) => _table.DevicePointer + ((ulong)layer * (ulong)_weights.Shape.ExpertCount * sizeof(uint));

    /// <summary>(experts) of a layer, for the host: not 0 where an expert is here during this pass.</summary>
    public bool* HeldOf(int layer)
    {
        fixed (bool* held = _held)
        {
            // The array is pinned.
            return held + ((long)layer * _weights.Shape.ExpertCount);
        }
    }

    /// <summary>One expert that is here, as the only one of its slots.</summary>
    /// <param name="key">Layer x experts + expert.</param>
    public ExpertSlotsArguments SlotOf(int key) => _layout.At(AddressOf(_tableOnHost.Pointer[key]));

    /// <summary>Bytes of the GPU beside the slots.</summary>
    public static long TableBytes(ModelShape shape) => (long)shape.LayerCount * shape.ExpertCount * sizeof(uint);

    /// <summary>Fills the slots when the model is opened.</summary>
    /// <param name="uploader">Copies.</param>
    /// <param name="progress">Told after every expert, and again while a drive is waited for: done, in all. May throw to stop.</param>
    /// <param name="drivePatience">How long drives may be silent.</param>
    /// <remarks>Where a drive fails or is silent for longer, the exception is that of <see cref="IWeightFiles.Failure"/>.</remarks>
    public void Fill(WeightUploader uploader, Action<int, int>? progress, TimeSpan drivePatience)
    {
        IReadOnlyList<int> first = _placement.First(SlotCount);
        using ExpertsInTurn? fromDrives = _files is null ? null : new ExpertsInTurn(first, _layout.Bytes, () => new ExpertSource(_weights, _files, _layout));
        for (int slot = 0; slot < first.Count; slot++)
        {
            byte* bytes = _gathered.Pointer;
            if (fromDrives is null)
            {
                _source.Copy(first[slot], bytes);
            }
            else
            {
                bytes = fromDrives.Wait(slot, drivePatience, () => progress?.Invoke(slot, first.Count));
            }

            uploader.Copy(bytes, AddressOf((uint)slot), _layout.Bytes);
            fromDrives?.GoOn(slot);
            _tableOnHost.Pointer[first[slot]] = (uint)slot;
            _held[first[slot]] = true;
            progress?.Invoke(slot + 1, first.Count);
        }

        _stream.CopyToDevice(_table.DevicePointer, _tableOnHost.Pointer, _tableOnHost.Length * sizeof(uint));
    }

    /// <summary>Between two passes: begins or continues a move.</summary>
    public void Advance()
    {
        if (_move is not { } move)
        {
            if (_placement.Next(_held) is { } next)
            {
                // A pass that nobody wants any more ends without waiting for what it has sent, and the next bytes go where those are.
                _gatheredSent.Synchronize();
                Gather(next.In);
                (_move, _slot, _sent) = (next, _tableOnHost.Pointer[next.Out], 0);
            }

            return;
        }

        if (_gatherer.IsWorking)
        {
            return;
        }

        if (_gatherer.IsBusy && _gatherer.Wait() is not null)
        {
            // A drive failed. Nothing has moved yet; whoever computes the expert reads it himself, and says what is wrong.
            _move = null;
            return;
        }

        // A failed call leaves this where it was, and the next pass tries again.
        if (_held[move.Out])
        {
            Put(move.Out, NoSlot);
        }

        long piece = Math.Min(PieceBytes, _layout.Bytes - _sent);
        if (piece > 0)
        {
            _stream.CopyToDevice(AddressOf(_slot) + (ulong)_sent, _gathered.Pointer + _sent, piece);
            _sent += piece;
        }

        if (_sent == _layout.Bytes)
        {
            Put(move.In, _slot);
            _gatheredSent.Record(_stream);
            _move = null;
            Moves++;
        }
    }

    public void Dispose()
    {
        // The gatherer ends first: it writes to memory that is given back then, and reads the checkpoint. From a mapping it reads to the end, since
        // pages that are gone would end the process; a drive may never answer.
        _source.End();
        _gatherer?.End(_files is not null ? s_patience : Timeout.InfiniteTimeSpan);
        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    /// <summary>By itself, since what it captures would be allocated by every pass.</summary>
    private void Gather(int key) => _gatherer.Start(() => _source.Copy(key, _gathered.Pointer));

    private ulong AddressOf(uint slot) => _slots.DevicePointer + (slot * (ulong)_layout.Bytes);

    /// <summary>Says to kernels and host alike where an expert is. The copy runs before the passes that follow.</summary>
    private void Put(int key, uint slot)
    {
        _tableOnHost.Pointer[key] = slot;
        _stream.CopyToDevice(_table.DevicePointer + ((ulong)key * sizeof(uint)), _tableOnHost.Pointer + key, sizeof(uint));
        _held[key] = slot != NoSlot;
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }
}
