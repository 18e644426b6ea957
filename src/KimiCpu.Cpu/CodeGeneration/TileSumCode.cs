// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes how the lanes of a tile are folded by halves, as <see cref="LaneSum"/> says, without a branch: behind so many products a loop costs 300
/// cycles on Emerald Rapids.
/// </summary>
internal static class TileSumCode
{
    /// <param name="code">Where to.</param>
    /// <param name="lanesEnd">Behind the last lane of (16 lanes, tokens, 32 rows); moved back by eight lanes.</param>
    /// <param name="target">Of the first token's sums; moved behind the last token.</param>
    /// <param name="stride">Bytes from token to token.</param>
    /// <param name="tokens">Of the tile.</param>
    /// <param name="vectors">All of them are free; at least four.</param>
    /// <param name="zero">Zeros, which lanes are overwritten with; null to leave them.</param>
    /// <param name="between">Writes what is to be done behind each vector.</param>
    public static void Fold(Assembler code, AssemblerRegister64 lanesEnd, AssemblerRegister64 target, AssemblerRegister64 stride, int tokens, IReadOnlyList<AssemblerRegisterZMM> vectors, AssemblerRegisterZMM? zero = null, Action? between = null)
    {
        // Sixteen lanes are within the reach of short offsets from their middle.
        int laneBytes = 2 * tokens * WeightTile.VectorBytes;
        code.sub(lanesEnd, LaneSum.Lanes / 2 * laneBytes);
        for (int t = 0; t < tokens; t++)
        {
            for (int half = 0; half < 2; half++)
            {
                int at = (((2 * t) + half) * WeightTile.VectorBytes) - (LaneSum.Lanes / 2 * laneBytes);
                Sum(0, 1, vectors);
                code.vmovups(__zmmword_ptr[target + (half * WeightTile.VectorBytes)], vectors[0]);
                between?.Invoke();

                // Into the first of the registers: every so many lanes, from one on.
                void Sum(int lane, int step, IEnumerable<AssemblerRegisterZMM> free)
                {
                    AssemblerRegisterZMM sum = free.First();
                    if (step == LaneSum.Lanes / 2)
                    {
                        AssemblerMemoryOperand first = __zmmword_ptr[lanesEnd + (at + (lane * laneBytes))];
                        AssemblerMemoryOperand second = __zmmword_ptr[lanesEnd + (at + ((lane + step) * laneBytes))];
                        code.vmovups(sum, first);
                        code.vaddps(sum, sum, second);
                        if (zero is { } zeros)
                        {
                            code.vmovups(first, zeros);
                            code.vmovups(second, zeros);
                        }

                        return;
                    }

                    Sum(lane, 2 * step, free);
                    Sum(lane + step, 2 * step, free.Skip(1));
                    code.vaddps(sum, sum, free.ElementAt(1));
                }
            }

            code.add(target, stride);
        }
    }
}
