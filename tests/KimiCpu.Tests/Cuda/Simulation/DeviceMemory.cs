// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>
/// The allocations that kernels may touch. Addresses are those of this process; what is allocated is all ones, which is
/// NaN in every format, until somebody writes it.
/// </summary>
internal sealed unsafe class DeviceMemory : IDisposable
{
    private readonly SortedList<ulong, Allocation> _allocations = [];
    private Allocation[] _ordered = [];

    public int Count => _allocations.Count;

    public long Bytes { get; private set; }

    public ulong Allocate(long bytes)
    {
        void* block = NativeMemory.AlignedAlloc((nuint)bytes, 256);
        NativeMemory.Fill(block, (nuint)bytes, 0xFF);
        _allocations.Add((ulong)block, new Allocation((ulong)block, (ulong)bytes));
        _ordered = [.. _allocations.Values];
        Bytes += bytes;
        return (ulong)block;
    }

    public bool Free(ulong address)
    {
        if (!_allocations.Remove(address, out Allocation? allocation))
        {
            return false;
        }

        // Instructions remember where they went last.
        allocation.IsLive = false;
        _ordered = [.. _allocations.Values];
        Bytes -= (long)allocation.Bytes;
        NativeMemory.AlignedFree((void*)address);
        return true;
    }

    /// <summary>The allocation that holds all of the bytes; null where none does.</summary>
    public Allocation? Find(ulong address, ulong bytes)
    {
        int low = 0;
        int high = _ordered.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            Allocation candidate = _ordered[middle];
            if (candidate.Holds(address, bytes))
            {
                return candidate;
            }

            if (candidate.Address > address)
            {
                high = middle - 1;
            }
            else
            {
                low = middle + 1;
            }
        }

        return null;
    }

    public void Dispose()
    {
        foreach (ulong address in _allocations.Keys.ToArray())
        {
            Free(address);
        }
    }

    internal sealed class Allocation(ulong address, ulong bytes)
    {
        public ulong Address { get; } = address;

        public ulong Bytes { get; } = bytes;

        public bool IsLive { get; set; } = true;

        public bool Holds(ulong address, ulong bytes) => IsLive && address - Address < Bytes && bytes <= Bytes - (address - Address);
    }
}
