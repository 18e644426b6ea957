// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Results of rows that were multiplied in streams, as <see cref="StreamCode"/> says.</summary>
internal static unsafe class StreamSums
{
    private const int Streams = StreamCode.Rows;

    /// <summary>Folds the sums of every second step together with those of the one before, and of the last.</summary>
    /// <param name="sums">(2, 4) vectors of 16: even and odd steps.</param>
    /// <param name="step">The one that has just been done: row so many of each stream.</param>
    /// <param name="steps">Rows of a stream.</param>
    /// <param name="y">Receives the results of all streams, one after another.</param>
    public static void Fold(float* sums, int step, int steps, float* y)
    {
        bool odd = step % 2 == 1;
        if (!odd && step < steps - 1)
        {
            return;
        }

        float* folded = stackalloc float[2 * Streams];
        Lanes512.Sum8(sums, folded);
        for (int stream = 0; stream < Streams; stream++)
        {
            float* target = y + ((long)stream * steps) + step;
            target[0] = folded[odd ? Streams + stream : stream];
            if (odd)
            {
                target[-1] = folded[stream];
            }
        }
    }
}
