// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// INT4 weights as they lie in the checkpoint times one row of int8 activations. Within a group of 32 columns the
/// products are summed exactly in int32; groups are added in the order of <see cref="LaneSum"/>, so all instruction sets
/// give the same bits. Bound by memory: 16 + 2 bytes a group.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    private const int GroupSize = Int4Group32.GroupSize;

    /// <summary>Packed bytes, and even or odd activations, of a group.</summary>
    private const int GroupBytes = GroupSize / 2;

    /// <summary>Packed bytes of the 16 groups of a step.</summary>
    private const int StepBytes = LaneSum.Lanes * GroupBytes;

    /// <summary>Bytes ahead of use that weights are asked for; beyond it the hardware's own prefetch has caught up.</summary>
    private const int PrefetchDistance = 8192;

    /// <summary>The same for requests into the first level, as in <see cref="CodeGeneration.Int4Code"/>.</summary>
    private const int NearDistance = 3072;

    /// <summary>y[r] = Σ W[r, c] x[c].</summary>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">Rounded row of weight.Columns columns.</param>
    /// <param name="y">Row r is written to y[r].</param>
    public static void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y) =>
        Multiply(CpuFeatures.Best, weight, rowBegin, rowEnd, x, y);

    /// <summary>The same with a given instruction set, which must be supported.</summary>
    public static void Multiply(InstructionSet set, in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                MultiplyAvx512(weight, rowBegin, rowEnd, x, y);
                break;
            case InstructionSet.Avx2:
                MultiplyAvx2(weight, rowBegin, rowEnd, x, y);
                break;
            case InstructionSet.Vector128:
                MultiplyVector128(weight, rowBegin, rowEnd, x, y);
                break;
            default:
                MultiplyScalar(weight, rowBegin, rowEnd, x, y);
                break;
        }
    }

    /// <summary>The definition.</summary>
    private static void MultiplyScalar(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        float* lanes = stackalloc float[LaneSum.Lanes];
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            new Span<float>(lanes, LaneSum.Lanes).Clear();
            for (int g = 0; g < groups; g++)
            {
                int dot = x.Corrections[g];
                int end = Math.Min(GroupSize, weight.Columns - (g * GroupSize));
                for (int c = 0; c < end; c++)
                {
                    int at = (g * GroupBytes) + (c / 2);
                    dot += (c & 1) == 0 ? (data[at] & 15) * x.Even[at] : (data[at] >> 4) * x.Odd[at];
                }

                float scale = BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(scales + g)) * x.Scales[g];
                lanes[g % LaneSum.Lanes] = MathF.FusedMultiplyAdd(dot, scale, lanes[g % LaneSum.Lanes]);
            }

            y[r] = LaneSum.Fold(lanes);
        }
    }

    /// <summary>Whole steps of a row, and what is left of it, copied where it may be read as a whole step.</summary>
    private ref struct RowSteps
    {
        public readonly int Whole;
        private readonly int _restBytes;
        private readonly int _restGroups;

        public RowSteps(int columns)
        {
            int groups = Int4Group32.GroupsPerRow(columns);
            Whole = columns / (GroupSize * LaneSum.Lanes);
            _restGroups = groups - (Whole * LaneSum.Lanes);
            _restBytes = (int)Int4Group32.RowBytes(columns) - (Whole * StepBytes);
        }

        public readonly bool HasRest => _restGroups > 0;

        /// <param name="data">What is left of the row.</param>
        /// <param name="scales">Its scales.</param>
        /// <param name="rest">(<see cref="StepBytes"/> + 32 bytes) receives packed weights, then scales; zeros behind.</param>
        public readonly void CopyRest(byte* data, ushort* scales, byte* rest)
        {
            new Span<byte>(rest, StepBytes + (2 * LaneSum.Lanes)).Clear();
            Unsafe.CopyBlockUnaligned(rest, data, (uint)_restBytes);
            Unsafe.CopyBlockUnaligned(rest + StepBytes, scales, (uint)(2 * _restGroups));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* DataOf(in WeightMatrix weight, int row) => weight.Data + ((long)row * Int4Group32.RowBytes(weight.Columns));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ushort* ScalesOf(in WeightMatrix weight, int row, int groups) => (ushort*)(weight.Scales + (2L * row * groups));
}
