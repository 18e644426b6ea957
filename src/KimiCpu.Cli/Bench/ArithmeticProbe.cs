// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// Single-precision multiply-adds per second of a pool's threads in registers, at the widest vectors: the ceiling of the
/// arithmetic. The best of several passes. Byte dot products (four to a lane, on the same ports) have four times as much.
/// </summary>
internal sealed class ArithmeticProbe
{
    private const int Rounds = 2_000_000;
    private const int Chains = 12;
    private const int Passes = 5;

    private readonly WorkerPool _pool;
    private readonly PoolAction _work;
    private readonly double _operationsOfAnItem;
    private readonly float[] _sinks;

    public ArithmeticProbe(WorkerPool pool)
    {
        _pool = pool;
        _sinks = new float[pool.Threads];
        bool wide = CpuFeatures.Best == InstructionSet.Avx512;
        _work = wide ? new PoolAction(Wide) : new PoolAction(Narrow);
        _operationsOfAnItem = 2.0 * Rounds * Chains * (wide ? Vector512<float>.Count : Vector256<float>.Count);
    }

    /// <summary>Operations per second; a multiply-add counts as two.</summary>
    public double Measure()
    {
        double best = 0;
        for (int i = 0; i < Passes; i++)
        {
            long start = Stopwatch.GetTimestamp();
            _pool.Run(_pool.Threads, _work);
            best = Math.Max(best, _pool.Threads * _operationsOfAnItem / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Wide(int begin, int end, int worker)
    {
        for (int item = begin; item < end; item++)
        {
            var x = Vector512.Create(0.5f);
            Vector512<float> a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
            for (int round = 0; round < Rounds; round++)
            {
                a = Vector512.FusedMultiplyAdd(a, x, x);
                b = Vector512.FusedMultiplyAdd(b, x, x);
                c = Vector512.FusedMultiplyAdd(c, x, x);
                d = Vector512.FusedMultiplyAdd(d, x, x);
                e = Vector512.FusedMultiplyAdd(e, x, x);
                f = Vector512.FusedMultiplyAdd(f, x, x);
                g = Vector512.FusedMultiplyAdd(g, x, x);
                h = Vector512.FusedMultiplyAdd(h, x, x);
                i = Vector512.FusedMultiplyAdd(i, x, x);
                j = Vector512.FusedMultiplyAdd(j, x, x);
                k = Vector512.FusedMultiplyAdd(k, x, x);
                l = Vector512.FusedMultiplyAdd(l, x, x);
            }

            _sinks[worker] += Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Narrow(int begin, int end, int worker)
    {
        for (int item = begin; item < end; item++)
        {
            var x = Vector256.Create(0.5f);
            Vector256<float> a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
            for (int round = 0; round < Rounds; round++)
            {
                a = Vector256.FusedMultiplyAdd(a, x, x);
                b = Vector256.FusedMultiplyAdd(b, x, x);
                c = Vector256.FusedMultiplyAdd(c, x, x);
                d = Vector256.FusedMultiplyAdd(d, x, x);
                e = Vector256.FusedMultiplyAdd(e, x, x);
                f = Vector256.FusedMultiplyAdd(f, x, x);
                g = Vector256.FusedMultiplyAdd(g, x, x);
                h = Vector256.FusedMultiplyAdd(h, x, x);
                i = Vector256.FusedMultiplyAdd(i, x, x);
                j = Vector256.FusedMultiplyAdd(j, x, x);
                k = Vector256.FusedMultiplyAdd(k, x, x);
                l = Vector256.FusedMultiplyAdd(l, x, x);
            }

            _sinks[worker] += Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
    }
}
