// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Generation;

/// <summary>Log-probabilities of the model's own distribution, before any sampling option.</summary>
internal static class LogProbabilities
{
    /// <param name="token">That was chosen.</param>
    /// <param name="logits">Of all tokens.</param>
    /// <param name="top">How many of the most likely ones are told beside it.</param>
    public static TokenLogProbability Of(int token, ReadOnlySpan<float> logits, int top)
    {
        double logSumExp = LogSumExp(logits);
        return new TokenLogProbability(token, (float)(logits[token] - logSumExp), Top(logits, logSumExp, top));
    }

    /// <summary>log Σ e^logit; subtracting it from a logit gives the log-probability.</summary>
    public static double LogSumExp(ReadOnlySpan<float> logits)
    {
        float max = RowMath.Max(CpuFeatures.Best, logits);
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp((double)logit - max);
        }

        return max + Math.Log(sum);
    }

    /// <summary>The most likely tokens, best first; equal ones by rising id.</summary>
    public static (int Token, float LogProbability)[] Top(ReadOnlySpan<float> logits, double logSumExp, int count)
    {
        var best = new PriorityQueue<int, (float Logit, int NegativeToken)>();

        // Almost all of a vocabulary is below what the last of the best has.
        float least = float.NegativeInfinity;
        for (int token = 0; token < logits.Length && count > 0; token++)
        {
            if (best.Count < count)
            {
                best.Enqueue(token, (logits[token], -token));
            }
            else if (logits[token] > least)
            {
                best.DequeueEnqueue(token, (logits[token], -token));
            }
            else
            {
                continue;
            }

            least = best.Count == count ? logits[best.Peek()] : least;
        }

        var result = new (int, float)[best.Count];
        for (int i = result.Length - 1; i >= 0; i--)
        {
            int token = best.Dequeue();
            result[i] = (token, (float)(logits[token] - logSumExp));
        }

        return result;
    }
}
