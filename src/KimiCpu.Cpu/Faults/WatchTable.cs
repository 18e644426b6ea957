// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Faults;

/// <summary>The ranges that a signal handler looks up: native memory that lives as long as the process.</summary>
internal sealed unsafe class WatchTable
{
    public const int Capacity = 4096;
    public const int EntryBytes = 32;
    public const int StartAt = 0;
    public const int EndAt = 8;

    /// <summary>The address of the last fault; 0 where there was none.</summary>
    public const int FaultAt = 16;

    private readonly Lock _gate = new();

    public nint Address { get; } = (nint)NativeMemory.AllocZeroed(Capacity, EntryBytes);

    /// <summary>The entry of a new range; -1 where the table is full.</summary>
    public int Add(byte* start, long length)
    {
        lock (_gate)
        {
            for (int entry = 0; entry < Capacity; entry++)
            {
                if (Field(entry, EndAt) == 0)
                {
                    // A handler that looks at it between these lines sees an empty range.
                    Field(entry, FaultAt) = 0;
                    Field(entry, StartAt) = (nint)start;
                    Volatile.Write(ref Field(entry, EndAt), (nint)(start + length));
                    return entry;
                }
            }

            return -1;
        }
    }

    public void Remove(int entry)
    {
        lock (_gate)
        {
            Volatile.Write(ref Field(entry, EndAt), 0);
        }
    }

    /// <summary>How far into its range an entry's last fault was; null where there was none.</summary>
    public long? FaultOf(int entry) => Volatile.Read(ref Field(entry, FaultAt)) is not 0 and nint fault ? fault - Field(entry, StartAt) : null;

    private ref nint Field(int entry, int offset) => ref *(nint*)(Address + (entry * EntryBytes) + offset);
}
