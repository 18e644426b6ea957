// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.CompilerServices;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>
/// Single-precision multiply-adds per second of a pool's threads in registers, with one family of vectors: the ceiling of its
/// arithmetic. The best of several passes. Byte dot products (four to a lane, on the same ports) have four times as much.
/// </summary>
internal sealed unsafe class ArithmeticProbe
{
    /// <summary>Some 60 microseconds of work: so short that cores of two kinds, or one that another process holds for a while, end together.</summary>
    private const int Rounds = 60_000;

    private const int ItemsOfThread = 32;
    private const int Passes = 5;

    private readonly WorkerPool _pool;
    private readonly PoolAction _work;
    private readonly double _operationsOfAnItem;
    private readonly float[] _sinks;

    public ArithmeticProbe(WorkerPool pool, InstructionSet vectors)
    {
        _pool = pool;
        Vectors = vectors;
        _sinks = new float[pool.Threads];
        (_work, int results) = vectors switch
        {
            InstructionSet.Avx512 => (new PoolAction(Work<Lanes512>), Chains<Lanes512>() * Lanes512.Count),
            InstructionSet.Avx2 => (new PoolAction(Work<Lanes256>), Chains<Lanes256>() * Lanes256.Count),
            InstructionSet.Vector128 => (new PoolAction(Work<Lanes128>), Chains<Lanes128>() * Lanes128.Count),
            _ => (new PoolAction(Work<LanesScalar>), Chains<LanesScalar>() * LanesScalar.Count),
        };
        _operationsOfAnItem = 2.0 * Rounds * results;
    }

    public InstructionSet Vectors { get; }

    /// <summary>Operations per second; a multiply-add counts as two.</summary>
    public double Measure()
    {
        double best = 0;
        for (int i = 0; i < Passes; i++)
        {
            long start = Stopwatch.GetTimestamp();
            _pool.Run(ItemsOfThread * _pool.Threads, _work);
            best = Math.Max(best, ItemsOfThread * _pool.Threads * _operationsOfAnItem / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    /// <summary>As many as fill the multipliers while each waits for its last result: sixteen for Arm64's four, if there are so many registers.</summary>
    private static int Chains<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Registers == 32 ? 16 : 12;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Work<TLanes>(int begin, int end, int worker)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int item = begin; item < end; item++)
        {
            var x = TLanes.Broadcast(0.5f);
            TLanes a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x, m = x, n = x, o = x, p = x;
            for (int round = 0; round < Rounds; round++)
            {
                a = TLanes.MultiplyAdd(a, x, x);
                b = TLanes.MultiplyAdd(b, x, x);
                c = TLanes.MultiplyAdd(c, x, x);
                d = TLanes.MultiplyAdd(d, x, x);
                e = TLanes.MultiplyAdd(e, x, x);
                f = TLanes.MultiplyAdd(f, x, x);
                g = TLanes.MultiplyAdd(g, x, x);
                h = TLanes.MultiplyAdd(h, x, x);
                i = TLanes.MultiplyAdd(i, x, x);
                j = TLanes.MultiplyAdd(j, x, x);
                k = TLanes.MultiplyAdd(k, x, x);
                l = TLanes.MultiplyAdd(l, x, x);
                if (TLanes.Registers == 32)
                {
                    m = TLanes.MultiplyAdd(m, x, x);
                    n = TLanes.MultiplyAdd(n, x, x);
                    o = TLanes.MultiplyAdd(o, x, x);
                    p = TLanes.MultiplyAdd(p, x, x);
                }
            }

            TLanes abcd = TLanes.Add(TLanes.Add(a, b), TLanes.Add(c, d));
            TLanes efgh = TLanes.Add(TLanes.Add(e, f), TLanes.Add(g, h));
            TLanes ijkl = TLanes.Add(TLanes.Add(i, j), TLanes.Add(k, l));
            TLanes mnop = TLanes.Add(TLanes.Add(m, n), TLanes.Add(o, p));
            _sinks[worker] += TLanes.Sum(TLanes.Add(TLanes.Add(abcd, efgh), TLanes.Add(ijkl, mnop)));
        }
    }
}
