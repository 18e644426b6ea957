// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// A vector of floats of one width, so that a kernel over floats is written once and compiled for every width. All
/// pointers may be unaligned. Widths differ in the order of summation, so their results differ in the last bits.
/// </summary>
internal unsafe interface ILanes<TSelf>
    where TSelf : unmanaged, ILanes<TSelf>
{
    /// <summary>Floats in a vector.</summary>
    static abstract int Count { get; }

    static abstract TSelf Zero { get; }

    static abstract TSelf Broadcast(float value);

    static abstract TSelf Load(float* source);

    /// <summary>Widens bfloat16 bit patterns; exact.</summary>
    static abstract TSelf LoadBFloat16(ushort* source);

    /// <summary>Widens e4m3 codes; exact, subnormals and NaN included.</summary>
    static abstract TSelf LoadFloat8(byte* source);

    /// <summary>2^-120 times the values of e4m3 codes; exact, subnormals included; undefined for the codes of NaN.</summary>
    static abstract TSelf LoadShiftedFloat8(byte* source);

    static abstract void Store(TSelf value, float* target);

    static abstract TSelf Add(TSelf a, TSelf b);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    /// <summary>a * b + c.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>Sum of all lanes.</summary>
    static abstract float Sum(TSelf value);

    /// <summary>Sums of eight vectors, each as <see cref="Sum"/>; the results may lie over the first vectors.</summary>
    static virtual void Sum8(float* vectors, float* results)
    {
        for (int i = 0; i < 8; i++)
        {
            results[i] = TSelf.Sum(TSelf.Load(vectors + (i * TSelf.Count)));
        }
    }
}
