// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Tiles;

/// <summary>Where things lie in a record of an activation tile: (8, tokens) x 4 values, (tokens) scales, (tokens) corrections.</summary>
internal static unsafe class TileRecord
{
    public const int TokenBytes = Int4Group32.GroupSize + sizeof(float) + sizeof(int);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Scale(byte* record, int tokens, int token) => ((float*)record)[(8 * tokens) + token];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Correction(byte* record, int tokens, int token) => ((int*)record)[(9 * tokens) + token];
}
