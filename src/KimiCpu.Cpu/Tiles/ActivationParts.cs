// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Rounded activations as low + 16 high with both parts in -8 … 8, small enough for sums of products with whole bytes to fit
/// in int16. Splitting activations costs a few instructions a group; splitting the weights, of which there are 32 rows, would cost
/// them for every row.
/// </summary>
internal static unsafe class ActivationParts
{
    public const int HighShift = 4;

    /// <summary>Splits the values of a record of an activation tile.</summary>
    /// <param name="record">(8, tokens) x 4 values.</param>
    /// <param name="low">Receives the low parts in the same order.</param>
    /// <param name="high">Receives the high parts.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Split<TTokens>(byte* record, byte* low, byte* high)
        where TTokens : ITokenCount
    {
        for (int i = 0; i < TTokens.Count * Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            (Vector256<sbyte> lows, Vector256<sbyte> highs) = Of(Vector256.Load((sbyte*)record + i));
            lows.Store((sbyte*)low + i);
            highs.Store((sbyte*)high + i);
        }
    }

    /// <summary>Splits the values of a record of one or two tokens so that a token's parts are like tokens: per four columns all low parts, then all high ones.</summary>
    /// <param name="record">(8, tokens) x 4 values.</param>
    /// <param name="parts">Receives (8, 2 x tokens) x 4 parts.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Interleave<TTokens>(byte* record, byte* parts)
        where TTokens : ITokenCount
    {
        for (int i = 0; i < TTokens.Count * Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            (Vector256<sbyte> lows, Vector256<sbyte> highs) = Of(Vector256.Load((sbyte*)record + i));
            Vector256<long> first, second;
            if (TTokens.Count == 1)
            {
                first = Avx2.UnpackLow(lows.AsInt32(), highs.AsInt32()).AsInt64();
                second = Avx2.UnpackHigh(lows.AsInt32(), highs.AsInt32()).AsInt64();
            }
            else
            {
                first = Avx2.UnpackLow(lows.AsInt64(), highs.AsInt64());
                second = Avx2.UnpackHigh(lows.AsInt64(), highs.AsInt64());
            }

            // Unpacking works within halves of 16 bytes.
            long* target = (long*)(parts + (2 * i));
            first.GetLower().Store(target);
            second.GetLower().Store(target + 2);
            first.GetUpper().Store(target + 4);
            second.GetUpper().Store(target + 6);
        }
    }

    /// <summary>The nearest multiple of 16, a sixteenth of it, and what is left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<sbyte> Low, Vector256<sbyte> High) Of(Vector256<sbyte> values)
    {
        Vector256<byte> size = Avx2.Abs(values);
        Vector256<byte> high = ((size + Vector256.Create((byte)8)).AsUInt16() >> HighShift).AsByte() & Vector256.Create((byte)15);
        Vector256<byte> low = size - (high.AsUInt16() << HighShift).AsByte();
        return (Avx2.Sign(low.AsSByte(), values), Avx2.Sign(high.AsSByte(), values));
    }
}
