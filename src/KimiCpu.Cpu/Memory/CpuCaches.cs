// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu;

/// <summary>How large the caches are.</summary>
internal static class CpuCaches
{
    /// <summary>For CPUs that do not tell: more than most of them have.</summary>
    private const long Guess = 64L << 20;

    private const int IntelLeaf = 4;
    private const int AmdLeaf = unchecked((int)0x8000001D);
    private const int MostCaches = 16;

    /// <summary>Bytes of the last level, all of its parts that this process can use together.</summary>
    public static long LastLevelBytes { get; } = Find();

    private static long Find()
    {
        if (!X86Base.IsSupported)
        {
            return Guess;
        }

        long bytes = Math.Max(Find(IntelLeaf), Find(AmdLeaf));
        return bytes > 0 ? bytes : Guess;
    }

    /// <summary>Reads a leaf of "deterministic cache parameters", in which both makers describe caches alike; 0 where it is not there.</summary>
    private static long Find(int leaf)
    {
        uint lastLeaf = (uint)X86Base.CpuId(leaf & unchecked((int)0x80000000), 0).Eax;
        if (lastLeaf < (uint)leaf)
        {
            return 0;
        }

        (int level, long bytes) = (0, 0);
        for (int index = 0; index < MostCaches; index++)
        {
            (int type, int geometry, int sets, _) = X86Base.CpuId(leaf, index);
            if ((type & 0x1F) == 0)
            {
                break;
            }

            if ((type >> 5 & 7) > level)
            {
                level = type >> 5 & 7;
                bytes = PartBytes(geometry, sets) * PartsFor(threads: (type >> 14 & 0xFFF) + 1);
            }
        }

        return bytes;
    }

    private static long PartBytes(int geometry, int sets)
    {
        long line = (geometry & 0xFFF) + 1;
        long partitions = (geometry >> 12 & 0x3FF) + 1;
        long ways = (geometry >> 22 & 0x3FF) + 1;
        return line * partitions * ways * ((uint)sets + 1L);
    }

    private static int PartsFor(int threads) => (Environment.ProcessorCount + threads - 1) / threads;
}
