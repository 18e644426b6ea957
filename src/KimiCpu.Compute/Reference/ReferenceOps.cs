// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute.Reference;

/// <summary>The small operations of a decoder layer, in double precision inside, one line of mathematics each.</summary>
internal static class ReferenceOps
{
    /// <summary>x / sqrt(mean(x²) + eps) * weight, over each of the rows of weight.Length values.</summary>
    public static void RmsNorm(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float epsilon, Span<float> y)
    {
        for (int start = 0; start < x.Length; start += weight.Length)
        {
            double squares = 0;
            for (int i = 0; i < weight.Length; i++)
            {
                squares += (double)x[start + i] * x[start + i];
            }

            double factor = 1 / Math.Sqrt((squares / weight.Length) + epsilon);
            for (int i = 0; i < weight.Length; i++)
            {
                y[start + i] = (float)(x[start + i] * factor * weight[i]);
            }
        }
    }

    /// <summary>1 / (1 + e^-x) without overflow.</summary>
    public static double Sigmoid(double x)
    {
        double e = Math.Exp(-Math.Abs(x));
        return x >= 0 ? 1 / (1 + e) : e / (1 + e);
    }

    /// <summary>silu(gate) * up, element by element.</summary>
    public static void SwiGlu(ReadOnlySpan<float> gate, ReadOnlySpan<float> up, Span<float> y)
    {
        for (int i = 0; i < gate.Length; i++)
        {
            y[i] = (float)(gate[i] * Sigmoid(gate[i]) * up[i]);
        }
    }

    /// <summary>Rotates the adjacent pairs of x in place for one position.</summary>
    public static void Rotate(RotaryEmbedding rotary, int position, Span<float> x)
    {
        Span<float> cosines = new float[x.Length / 2];
        Span<float> sines = new float[x.Length / 2];
        rotary.Fill(position, cosines, sines);
        for (int i = 0; i < cosines.Length; i++)
        {
            double even = x[2 * i];
            double odd = x[(2 * i) + 1];
            x[2 * i] = (float)((even * cosines[i]) - (odd * sines[i]));
            x[(2 * i) + 1] = (float)((odd * cosines[i]) + (even * sines[i]));
        }
    }

    /// <summary>Softmax in place; the maximum is subtracted so that nothing overflows.</summary>
    public static void Softmax(Span<double> x)
    {
        double max = double.NegativeInfinity;
        foreach (double value in x)
        {
            max = Math.Max(max, value);
        }

        double sum = 0;
        for (int i = 0; i < x.Length; i++)
        {
            x[i] = Math.Exp(x[i] - max);
            sum += x[i];
        }

        for (int i = 0; i < x.Length; i++)
        {
            x[i] /= sum;
        }
    }

    /// <summary>The sum of MLP outputs down(silu(gate(x)) * up(x)) for (rows, hidden).</summary>
    public static void Mlp(MlpWeights weights, ReadOnlySpan<float> x, int rows, Span<float> y)
    {
        int width = weights.Gate.Rows;
        var gate = new float[rows * width];
        var up = new float[rows * width];
        ReferenceLinear.Multiply(weights.Gate, x, rows, gate);
        ReferenceLinear.Multiply(weights.Up, x, rows, up);
        SwiGlu(gate, up, gate);
        ReferenceLinear.Multiply(weights.Down, gate, rows, y);
    }
}
