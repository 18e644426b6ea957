// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Threading;

/// <summary>What is taken of a share at once.</summary>
internal enum SharePortion
{
    /// <summary>By its owner: a part, or all but a part.</summary>
    Part,
    Most,

    /// <summary>By a worker of its node, and by one of another node, which takes from the tail alone.</summary>
    Item,
    TailItem,
}

/// <summary>What concerns one worker: a cache line that others write, and one that it writes itself; no other worker's beside them, nor the length of their array.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct WorkerShare
{
    /// <summary>
    /// A worker takes this part of what is left of its own share, so that the end is cut finely enough to even out, or leaves this part to later where
    /// work reads in stretches, which evens out cores whose speeds are as 3 to 5: memory is read fastest in long ones (INT4 experts of 2048 · 1024 columns
    /// on two cores of Zen 5: taking a quarter 0.71 of the bandwidth, a half 0.74, three quarters 0.78, all 0.79).
    /// </summary>
    private const int OwnPart = 4;

    /// <summary>The <see cref="ItemRange"/> of its share that nobody has taken yet.</summary>
    [FieldOffset(64)]
    public long Left;

    /// <summary>So many of the last items may be taken by workers of other nodes.</summary>
    [FieldOffset(72)]
    public int Tail;

    /// <summary>Items that the worker has done in all runs.</summary>
    [FieldOffset(192)]
    public long Done;

    /// <summary>1 when it sleeps, or is about to.</summary>
    [FieldOffset(200)]
    public int Sleeping;

    /// <summary>The owner takes from the front, where its memory continues; others take single items from the back.</summary>
    public bool TryTake(int run, SharePortion portion, out int begin, out int end)
    {
        long seen = Volatile.Read(ref Left);
        while (true)
        {
            (begin, end) = ItemRange.Items(seen);
            int count = end - begin;
            if (count <= 0 || ItemRange.Run(seen) != run || (portion == SharePortion.TailItem && count > Tail))
            {
                return false;
            }

            bool own = portion is SharePortion.Part or SharePortion.Most;
            int part = (count + OwnPart - 1) / OwnPart;
            int taken = !own ? 1 : portion == SharePortion.Most ? Math.Max(1, count - part) : part;
            long rest = own ? ItemRange.Pack(run, begin + taken, end) : ItemRange.Pack(run, begin, end - taken);
            long found = Interlocked.CompareExchange(ref Left, rest, seen);
            if (found == seen)
            {
                (begin, end) = own ? (begin, begin + taken) : (end - taken, end);
                return true;
            }

            seen = found;
        }
    }
}
