// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Tiles;

/// <summary>Cuts tokens into as few tiles as possible, as even as possible, the larger ones first.</summary>
/// <param name="MaxTokens">Most tokens of a tile.</param>
internal readonly record struct TokenTiles(int MaxTokens)
{
    /// <summary>Fewest tiles that hold so many tokens.</summary>
    public int Count(int tokens) => (tokens + MaxTokens - 1) / MaxTokens;

    /// <summary>The tile of an index among those that <see cref="Next"/> cuts one after another.</summary>
    public (int FirstToken, int Tokens) At(int tokens, int index)
    {
        (int size, int larger) = Math.DivRem(tokens, Count(tokens));
        return ((index * size) + Math.Min(index, larger), index < larger ? size + 1 : size);
    }

    /// <summary>Tokens of the first tile of those left.</summary>
    public int Next(int tokensLeft)
    {
        int tiles = Count(tokensLeft);
        return (tokensLeft + tiles - 1) / tiles;
    }
}
