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

    /// <summary>Vectors that the CPU's registers hold.</summary>
    static abstract int Registers { get; }

    static abstract TSelf Zero { get; }

    static abstract TSelf Broadcast(float value);

    static abstract TSelf Load(float* source);

    /// <summary>Widens bfloat16 bit patterns; exact.</summary>
    static abstract TSelf LoadBFloat16(ushort* source);

    /// <summary>Widens e4m3 codes; exact, subnormals and NaN included.</summary>
    static abstract TSelf LoadFloat8(byte* source);

    /// <summary>Of 2 x Count bfloat16 values loaded as they lie: those with even index; exact.</summary>
    static abstract TSelf EvenBFloat16(TSelf bits);

    /// <summary>Of 2 x Count bfloat16 values loaded as they lie: those with odd index; exact.</summary>
    static abstract TSelf OddBFloat16(TSelf bits);

    /// <summary>
    /// Of 4 x Count e4m3 codes loaded as they lie: those with even index as the upper halves of floats of 2^-120 times the
    /// value, for <see cref="EvenBFloat16"/> and <see cref="OddBFloat16"/>; exact, subnormals included; undefined for NaN.
    /// </summary>
    static abstract TSelf EvenFloat8(TSelf bits);

    /// <summary>As <see cref="EvenFloat8"/>, those with odd index.</summary>
    static abstract TSelf OddFloat8(TSelf bits);

    /// <summary>Bytewise maximum of what was seen and new codes, their sign bits set.</summary>
    static abstract TSelf LargestFloat8(TSelf largest, TSelf bits);

    /// <summary>Whether <see cref="LargestFloat8"/> has seen a code of NaN.</summary>
    static abstract bool HasNaNFloat8(TSelf largest);

    /// <summary>The elements with even index of two vectors, one behind the other.</summary>
    static abstract TSelf EvenOf(TSelf a, TSelf b);

    /// <summary>The elements with odd index of two vectors, one behind the other.</summary>
    static abstract TSelf OddOf(TSelf a, TSelf b);

    /// <summary>Elements of two vectors in turn: the first half of what <see cref="EvenOf"/> and <see cref="OddOf"/> came from.</summary>
    static abstract TSelf FirstZipped(TSelf even, TSelf odd);

    /// <summary>The second half.</summary>
    static abstract TSelf SecondZipped(TSelf even, TSelf odd);

    static abstract void Store(TSelf value, float* target);

    static abstract TSelf Add(TSelf a, TSelf b);

    static abstract TSelf Subtract(TSelf a, TSelf b);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    /// <summary>The larger of each two elements; the second where one is a NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    static abstract TSelf Divide(TSelf a, TSelf b);

    /// <summary>To the nearest integer, ties to even.</summary>
    static abstract TSelf Round(TSelf x);

    /// <summary>value * 2^power, rounded once.</summary>
    /// <param name="value">Of 0.5 to 2, or a NaN.</param>
    /// <param name="power">Integers from -250 to 250, or NaNs where values are.</param>
    static abstract TSelf ScaleByPowerOfTwo(TSelf value, TSelf power);

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
