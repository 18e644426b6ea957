// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;

namespace KimiCpu.Cpu.Kernels;

/// <summary>What <see cref="RowMath"/> does with each two elements of rows and a factor.</summary>
internal interface IRowOperation
{
    static abstract TLanes Apply<TLanes>(TLanes x, TLanes y, TLanes factor)
        where TLanes : unmanaged, ILanes<TLanes>;
}

/// <summary>x + y.</summary>
internal readonly struct RowSum : IRowOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Apply<TLanes>(TLanes x, TLanes y, TLanes factor)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Add(x, y);
}

/// <summary>x * factor.</summary>
internal readonly struct RowScale : IRowOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Apply<TLanes>(TLanes x, TLanes y, TLanes factor)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Multiply(x, factor);
}

/// <summary>x * factor + y, rounded twice.</summary>
internal readonly struct RowScaleAdd : IRowOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Apply<TLanes>(TLanes x, TLanes y, TLanes factor)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Add(TLanes.Multiply(x, factor), y);
}

/// <summary>x * factor * y.</summary>
internal readonly struct RowScaleMultiply : IRowOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Apply<TLanes>(TLanes x, TLanes y, TLanes factor)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Multiply(TLanes.Multiply(x, factor), y);
}

/// <summary>silu(x) * y, silu(x) = x / (1 + e^-x).</summary>
internal readonly struct RowSwiGlu : IRowOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Apply<TLanes>(TLanes x, TLanes y, TLanes factor)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        // Of a NaN and a number, the second operand is returned.
        TLanes bounded = TLanes.Max(TLanes.Broadcast(-Exponential.Largest), x);
        TLanes e = Exponential.Of(TLanes.Subtract(TLanes.Zero, bounded));
        return TLanes.Multiply(TLanes.Divide(x, TLanes.Add(e, TLanes.Broadcast(1))), y);
    }
}
