// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;

namespace KimiCpu.Cpu.Kernels;

/// <summary>How queries come to lie side by side.</summary>
internal sealed unsafe partial class QueryLanes<TLanes>
{
    /// <summary>Lanes behind the last query repeat it.</summary>
    protected override void Take(float* query, long stride)
    {
        _lanes = (Count + TLanes.Count - 1) / TLanes.Count * TLanes.Count;
        float** rows = stackalloc float*[LatentAttention.MostQueries];
        for (int lane = 0; lane < _lanes; lane++)
        {
            int index = Math.Min(lane, Count - 1);
            rows[lane] = query + (index / Heads * stride) + (index % Heads * KeyWidth);
        }

        for (int lane = 0, block; lane < _lanes; lane += block)
        {
            block = BlockLanes(lane);
            SideBySide(rows + lane, block, _queries.Pointer + (lane * KeyWidth));
        }
    }

    /// <summary>(lanes, columns) to (columns, lanes), squares of four at a time where vectors are that wide.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SideBySide(float** rows, int lanes, float* target)
    {
        int whole = TLanes.Count < Lanes128.Count ? 0 : KeyWidth / Lanes128.Count * Lanes128.Count;
        for (int lane = 0; lane < lanes && whole > 0; lane += Lanes128.Count)
        {
            for (int c = 0; c < whole; c += Lanes128.Count)
            {
                Square(rows + lane, c, target + (c * lanes) + lane, lanes);
            }
        }

        for (int lane = 0; lane < lanes; lane++)
        {
            for (int c = whole; c < KeyWidth; c++)
            {
                target[(c * lanes) + lane] = rows[lane][c];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Square(float** rows, int column, float* target, int stride)
    {
        Lanes128 a = Lanes128.Load(rows[0] + column), b = Lanes128.Load(rows[1] + column);
        Lanes128 c = Lanes128.Load(rows[2] + column), d = Lanes128.Load(rows[3] + column);
        Lanes128 ac = Lanes128.FirstZipped(a, c), bd = Lanes128.FirstZipped(b, d);
        Lanes128.Store(Lanes128.FirstZipped(ac, bd), target);
        Lanes128.Store(Lanes128.SecondZipped(ac, bd), target + stride);
        ac = Lanes128.SecondZipped(a, c);
        bd = Lanes128.SecondZipped(b, d);
        Lanes128.Store(Lanes128.FirstZipped(ac, bd), target + (2 * stride));
        Lanes128.Store(Lanes128.SecondZipped(ac, bd), target + (3 * stride));
    }
}
