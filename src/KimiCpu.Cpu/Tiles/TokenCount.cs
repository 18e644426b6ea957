// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Tiles;

/// <summary>A number of tokens that the compiler knows, so that one text becomes a kernel for each.</summary>
internal interface ITokenCount
{
    static abstract int Count { get; }
}

internal readonly struct OneToken : ITokenCount
{
    public static int Count => 1;
}

internal readonly struct TwoTokens : ITokenCount
{
    public static int Count => 2;
}

internal readonly struct ThreeTokens : ITokenCount
{
    public static int Count => 3;
}

internal readonly struct FourTokens : ITokenCount
{
    public static int Count => 4;
}

internal readonly struct FiveTokens : ITokenCount
{
    public static int Count => 5;
}

internal readonly struct SixTokens : ITokenCount
{
    public static int Count => 6;
}
