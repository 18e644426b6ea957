// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>What is in memory that nobody has written to. Nothing may depend on it, and tests see to it that it shows where something does.</summary>
internal static unsafe class FreshMemory
{
    /// <summary>Larger blocks stay as the system gives them, without pages behind them.</summary>
    private const int MostBytes = 1 << 20;

    /// <summary>Whether blocks begin as numbers that are none, in every format; else with whatever was there.</summary>
    public static bool HoldsNaNs { get; set; }

    public static void Fill(byte* block, nuint bytes)
    {
        if (HoldsNaNs && bytes <= MostBytes)
        {
            new Span<byte>(block, (int)bytes).Fill(0xFF);
        }
    }
}
