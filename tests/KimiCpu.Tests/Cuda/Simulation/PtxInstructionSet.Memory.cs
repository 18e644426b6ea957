// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using System.Runtime.CompilerServices;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>Loads, stores, atomics and asynchronous copies.</summary>
internal static unsafe partial class PtxInstructionSet
{
    private interface IVector
    {
        static abstract int Count { get; }
    }

    private interface ISpace
    {
        static abstract byte* At(PtxInstruction i, PtxWarp w, int lane, ulong address, int bytes, bool write);
    }

    private static ulong Address(PtxInstruction i, PtxWarp w, int lane) => ((ulong*)(w.Registers + i.Base))[lane] + (ulong)i.Offset;

    private static void LoadParameter<T, TRegister, TCount>(PtxInstruction i, PtxWarp w, uint mask)
        where T : unmanaged, IBinaryInteger<T>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
        where TCount : struct, IVector
    {
        ReadOnlySpan<byte> parameters = w.Block.Parameters;
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            ulong address = Address(i, w, l);
            if (address + (ulong)(sizeof(T) * TCount.Count) > (ulong)parameters.Length || address % (ulong)(sizeof(T) * TCount.Count) != 0)
            {
                throw w.Fault(i, $"parameter byte {address} of {parameters.Length}");
            }

            for (int k = 0; k < TCount.Count; k++)
            {
                ((TRegister*)(w.Registers + i.Destinations[k]))[l] = TRegister.CreateTruncating(Unsafe.ReadUnaligned<T>(in parameters[(int)address + (k * sizeof(T))]));
            }
        }
    }

    private static void Load<TStored, TRegister, TCount, TSpace>(PtxInstruction i, PtxWarp w, uint mask)
        where TStored : unmanaged, IBinaryInteger<TStored>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
        where TCount : struct, IVector
        where TSpace : struct, ISpace
    {
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            var p = (TStored*)TSpace.At(i, w, l, Address(i, w, l), sizeof(TStored) * TCount.Count, write: false);
            for (int k = 0; k < TCount.Count; k++)
            {
                ((TRegister*)(w.Registers + i.Destinations[k]))[l] = TRegister.CreateTruncating(p[k]);
            }
        }
    }

    /// <summary>Its sign fills the register's 16 bits.</summary>
    private static void LoadSignedByte<TSpace>(PtxInstruction i, PtxWarp w, uint mask)
        where TSpace : struct, ISpace
    {
        uint* d = (uint*)(w.Registers + i.Destinations[0]);
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            d[l] = (ushort)*(sbyte*)TSpace.At(i, w, l, Address(i, w, l), sizeof(sbyte), write: false);
        }
    }

    /// <summary>Changes nothing that a kernel sees. An address outside of all memory is a mistake all the same.</summary>
    private static void Prefetch(PtxInstruction i, PtxWarp w, uint mask)
    {
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            GlobalSpace.At(i, w, l, Address(i, w, l), 1, write: false);
        }
    }

    private static void Store<TStored, TRegister, TCount, TSpace>(PtxInstruction i, PtxWarp w, uint mask)
        where TStored : unmanaged, IBinaryInteger<TStored>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
        where TCount : struct, IVector
        where TSpace : struct, ISpace
    {
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            var p = (TStored*)TSpace.At(i, w, l, Address(i, w, l), sizeof(TStored) * TCount.Count, write: true);
            for (int k = 0; k < TCount.Count; k++)
            {
                p[k] = TStored.CreateTruncating(((TRegister*)(w.Registers + i.Sources[k]))[l]);
            }

            if (typeof(TSpace) == typeof(GlobalSpace))
            {
                w.Block.Publication?.Write(w.ThreadOf(l));
            }
        }
    }

    private static void AtomicAdd(PtxInstruction i, PtxWarp w, uint mask)
    {
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            var p = (uint*)GlobalSpace.At(i, w, l, Address(i, w, l), sizeof(uint), write: true);
            ((uint*)(w.Registers + i.Destination))[l] = *p;
            *p += ((uint*)(w.Registers + i.Sources[0]))[l];
            w.Block.Publication?.Count(w.ThreadOf(l));
        }
    }

    private static void FenceSystem(PtxInstruction i, PtxWarp w, uint mask)
    {
        for (; mask != 0; mask &= mask - 1)
        {
            w.Block.Publication?.Fence(w.ThreadOf(BitOperations.TrailingZeroCount(mask)));
        }
    }

    /// <summary>A volatile store, which tells another that what was written before is there.</summary>
    private static void RaiseFlag(PtxInstruction i, PtxWarp w, uint mask)
    {
        for (uint lanes = mask; lanes != 0; lanes &= lanes - 1)
        {
            if (w.Block.Publication?.Raise(w.ThreadOf(BitOperations.TrailingZeroCount(lanes))) is { } lost)
            {
                throw w.Fault(i, lost);
            }
        }

        Store<uint, uint, Vector1, GlobalSpace>(i, w, mask);
    }

    /// <summary>The bytes arrive when their group is waited for; until then the target is all ones.</summary>
    private static void CopyAsync(PtxInstruction i, PtxWarp w, uint mask)
    {
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            ulong target = ((uint*)(w.Registers + i.Sources[0]))[l];
            uint bytes = ((uint*)(w.Registers + i.Sources[1]))[l];
            ulong source = Address(i, w, l);
            if (bytes is not (0 or 16))
            {
                throw w.Fault(i, $"lane {l}: copies {bytes} of 16 bytes");
            }

            if (bytes != 0)
            {
                GlobalSpace.At(i, w, l, source, 16, write: false);
            }

            new Span<byte>(w.Block.Shared.At(i, w, l, target, 16, write: true), 16).Fill(0xFF);
            w.Copies.Add((l, target, bytes == 0 ? 0 : source, w.Groups[l]));
        }
    }

    private static void CommitCopies(PtxInstruction i, PtxWarp w, uint mask)
    {
        for (; mask != 0; mask &= mask - 1)
        {
            w.Groups[BitOperations.TrailingZeroCount(mask)]++;
        }
    }

    private static void WaitForCopies(PtxInstruction i, PtxWarp w, uint mask)
    {
        int pending = *(int*)(w.Registers + i.Sources[0]);
        int kept = 0;
        for (int k = 0; k < w.Copies.Count; k++)
        {
            (int lane, ulong target, ulong source, int group) = w.Copies[k];
            if ((mask >> lane & 1) == 0 || group + pending >= w.Groups[lane])
            {
                w.Copies[kept++] = w.Copies[k];
                continue;
            }

            var landed = new Span<byte>(w.Block.Shared.At(i, w, lane, target, 16, write: true), 16);
            if (source == 0)
            {
                landed.Clear();
            }
            else
            {
                new ReadOnlySpan<byte>((void*)source, 16).CopyTo(landed);
            }
        }

        w.Copies.RemoveRange(kept, w.Copies.Count - kept);
    }

    private readonly struct Vector1 : IVector
    {
        public static int Count => 1;
    }

    private readonly struct Vector2 : IVector
    {
        public static int Count => 2;
    }

    private readonly struct Vector4 : IVector
    {
        public static int Count => 4;
    }

    private readonly struct GlobalSpace : ISpace
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static byte* At(PtxInstruction i, PtxWarp w, int lane, ulong address, int bytes, bool write)
        {
            if ((address & ((uint)bytes - 1)) != 0)
            {
                throw w.Fault(i, $"lane {lane}: global address is not a multiple of {bytes}");
            }

            if (w.LastAllocation is not { } last || !last.Holds(address, (ulong)bytes))
            {
                Find(i, w, lane, address, bytes);
            }

            return (byte*)address;
        }

        /// <summary>Most instructions stay in one allocation.</summary>
        private static void Find(PtxInstruction i, PtxWarp w, int lane, ulong address, int bytes)
        {
            ref DeviceMemory.Allocation? own = ref w.Block.LastAllocations[i.Index];
            if (own is null || !own.Holds(address, (ulong)bytes))
            {
                own = w.Block.Memory.Find(address, (ulong)bytes) ?? throw w.Fault(i, $"lane {lane}: {bytes} bytes at 0x{address:x} are outside every allocation");
            }

            w.LastAllocation = own;
        }
    }

    private readonly struct SharedSpace : ISpace
    {
        public static byte* At(PtxInstruction i, PtxWarp w, int lane, ulong address, int bytes, bool write) => w.Block.Shared.At(i, w, lane, address, bytes, write);
    }
}
