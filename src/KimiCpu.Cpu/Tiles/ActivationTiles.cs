// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Rounded activations of a list of tokens, cut into tiles of a few tokens, in the order in which a tile kernel reads
/// them: a record for each group as in <see cref="WeightTile"/>, holding for each four columns those of every token of
/// the tile, then the tokens' scales, then their corrections for the weights' bias.
/// </summary>
internal sealed unsafe class ActivationTiles : IDisposable
{
    private readonly AlignedBuffer<byte> _records = new();
    private int _groups;

    /// <summary>Groups in a lane.</summary>
    public int Blocks { get; private set; }

    /// <summary>Makes room for so many tokens, in any tiling; contents are lost.</summary>
    public void Resize(int tokens, int columns)
    {
        Blocks = LaneSum.BlocksOf(columns);
        _groups = Blocks * LaneSum.Lanes;
        _records.EnsureCapacity((long)tokens * _groups * TileRecord.TokenBytes);
    }

    /// <summary>The tile that begins with a token.</summary>
    public byte* Tile(int firstToken) => _records.Pointer + ((long)firstToken * _groups * TileRecord.TokenBytes);

    /// <summary>Copies all tokens of a tile.</summary>
    /// <param name="rows">The tokens, of the same number of columns.</param>
    /// <param name="firstToken">The tile.</param>
    /// <param name="bias">The weights' bias: 8, or <see cref="WeightTile.Int8Bias"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Write(ReadOnlySpan<QuantizedRow> rows, int firstToken, int bias)
    {
        byte* record = Tile(firstToken);
        for (int lane = 0; lane < LaneSum.Lanes; lane++)
        {
            for (int g = lane; g < _groups; g += LaneSum.Lanes, record += TileRecord.TokenBytes * rows.Length)
            {
                for (int t = 0; t < rows.Length; t++)
                {
                    WriteGroup(rows[t], g, record, rows.Length, t, bias);
                }
            }
        }
    }

    /// <summary>Copies all tokens of a tile, its groups by rising index and not by lane.</summary>
    /// <param name="rows">The tokens.</param>
    /// <param name="groups">Of a row.</param>
    /// <param name="tile">Receives them.</param>
    /// <param name="bias">As above.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void WriteInOrder(ReadOnlySpan<QuantizedRow> rows, int groups, byte* tile, int bias)
    {
        for (int t = 0; t < rows.Length; t++)
        {
            for (int g = 0; g < groups; g++)
            {
                WriteGroup(rows[t], g, tile + ((long)g * TileRecord.TokenBytes * rows.Length), rows.Length, t, bias);
            }
        }
    }

    /// <summary>Copies one group of <paramref name="row"/> to the place of group <paramref name="group"/>.</summary>
    public void WriteGroup(QuantizedRow row, int source, int group, int firstToken, int tokens, int token, int bias) =>
        WriteGroup(row, source, Tile(firstToken) + ((long)WeightTile.RecordOf(group, Blocks) * TileRecord.TokenBytes * tokens), tokens, token, bias);

    /// <summary>Asks for the lines of a tile that a group's values and factors are to be written to.</summary>
    public void AskFor(int group, int firstToken, int tokens)
    {
        byte* record = Tile(firstToken) + ((long)WeightTile.RecordOf(group, Blocks) * TileRecord.TokenBytes * tokens);
        byte* last = record + (TileRecord.TokenBytes * tokens) - 1;
        for (; record < last; record += TileAhead.LineBytes)
        {
            Prefetch.Line(record);
        }

        Prefetch.Line(last);
    }

    /// <summary>Fills the groups from <paramref name="firstGroup"/> on with zeros.</summary>
    public void ClearFrom(int firstGroup, int firstToken, int tokens)
    {
        for (int g = firstGroup; g < _groups; g++)
        {
            new Span<byte>(Tile(firstToken) + ((long)WeightTile.RecordOf(g, Blocks) * TileRecord.TokenBytes * tokens), TileRecord.TokenBytes * tokens).Clear();
        }
    }

    public void Dispose() => _records.Dispose();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteGroup(QuantizedRow row, int source, byte* record, int tokens, int token, int bias)
    {
        uint* target = (uint*)record + token;
        uint* even = (uint*)(row.Even + (source * 16));
        uint* odd = (uint*)(row.Odd + (source * 16));
        for (int q = 0; q < 4; q++)
        {
            target[q * tokens] = even[q];
            target[(q + 4) * tokens] = odd[q];
        }

        ((float*)target)[8 * tokens] = row.Scales[source];
        ((int*)target)[9 * tokens] = row.Corrections[source] * (bias / Int4Group32.Bias);
    }
}
