// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>
/// Items of a run in one word, so that they change hands at once, with the run's number, so that nobody who comes late takes those of a later one: 22 bits for
/// the first item, 22 for the one behind the last, 20 for the number, which begins anew after a million runs.
/// </summary>
internal static class ItemRange
{
    public const int MostItems = (1 << ItemBits) - 1;

    private const int ItemBits = 22;
    private const int RunShift = 2 * ItemBits;
    private const int RunMask = (1 << (64 - RunShift)) - 1;

    public static int RunAfter(int run) => (run + 1) & RunMask;

    public static long Pack(int run, int begin, int end) => ((long)run << RunShift) | ((long)end << ItemBits) | (uint)begin;

    public static int Run(long range) => (int)((ulong)range >> RunShift);

    public static (int Begin, int End) Items(long range) => ((int)range & MostItems, (int)(range >> ItemBits) & MostItems);
}
