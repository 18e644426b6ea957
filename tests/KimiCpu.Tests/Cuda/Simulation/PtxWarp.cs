// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>State of 32 threads that run in step.</summary>
internal sealed unsafe class PtxWarp : IDisposable
{
    private int _capacity;

    public PtxBlock Block { get; private set; } = null!;

    public int Index { get; private set; }

    /// <summary>Its register file: constants, registers, special registers; a value of 32 lanes in each.</summary>
    public byte* Registers { get; private set; }

    /// <summary>Lanes that have not returned.</summary>
    public uint Live { get; set; }

    /// <summary>Where each lane stands; lanes that run together are not kept up to date.</summary>
    public int[] Counters { get; } = new int[32];

    public bool IsAtBarrier { get; set; }

    /// <summary>Counts bar.warp.sync since the last barrier of the block.</summary>
    public ushort Epoch { get; set; }

    /// <summary>Copies to shared memory on their way.</summary>
    public List<(int Lane, ulong Target, ulong Source, int Group)> Copies { get; } = [];

    /// <summary>Where its last access of global memory went.</summary>
    public DeviceMemory.Allocation? LastAllocation { get; set; }

    /// <summary>Committed groups of each lane.</summary>
    public int[] Groups { get; } = new int[32];

    public void Start(PtxBlock block, int index, int threads)
    {
        PtxKernel kernel = block.Kernel;
        Block = block;
        Index = index;
        Live = threads >= 32 ? uint.MaxValue : (1u << threads) - 1;
        IsAtBarrier = false;
        Epoch = 0;
        LastAllocation = null;
        Copies.Clear();
        Array.Clear(Groups);
        Array.Clear(Counters);
        if (kernel.RegisterBytes > _capacity)
        {
            _capacity = kernel.RegisterBytes;
            Registers = (byte*)NativeMemory.AlignedRealloc(Registers, (nuint)_capacity, 64);
        }

        kernel.Constants.CopyTo(new Span<byte>(Registers, kernel.Constants.Length));
        for (uint l = 0; l < 32; l++)
        {
            Special(SpecialRegister.ThreadX)[l] = ((uint)index * 32) + l;
            Special(SpecialRegister.ThreadCountX)[l] = (uint)block.Threads;
            Special(SpecialRegister.BlockX)[l] = block.X;
            Special(SpecialRegister.BlockY)[l] = block.Y;
            Special(SpecialRegister.BlockZ)[l] = block.Z;
            Special(SpecialRegister.GridX)[l] = block.GridX;
            Special(SpecialRegister.GridY)[l] = block.GridY;
            Special(SpecialRegister.GridZ)[l] = block.GridZ;
        }
    }

    /// <summary>Of a lane, in its block.</summary>
    public int ThreadOf(int lane) => (Index * 32) + lane;

    public PtxFault Fault(PtxInstruction i, string what) =>
        new($"{Block.Kernel.Name}, block ({Block.X},{Block.Y},{Block.Z}), warp {Index}, PTX line {i.Line} `{i.Text}`: {what}");

    public void Dispose() => NativeMemory.AlignedFree(Registers);

    private uint* Special(SpecialRegister register) => (uint*)(Registers + Block.Kernel.SpecialRegisters[(int)register]);
}

/// <summary>A block of threads while it runs.</summary>
internal sealed record PtxBlock(PtxKernel Kernel, byte[] Parameters, SharedMemory Shared, DeviceMemory Memory, int Threads, uint GridX, uint GridY, uint GridZ)
{
    /// <summary>Where the last access of each instruction went. Not the instruction's own: machines that run at the same time share the code.</summary>
    public required DeviceMemory.Allocation?[] LastAllocations { get; init; }

    public uint X { get; set; }

    public uint Y { get; set; }

    public uint Z { get; set; }

    /// <summary>Of kernels that raise a flag.</summary>
    public PtxPublication? Publication { get; init; }
}
