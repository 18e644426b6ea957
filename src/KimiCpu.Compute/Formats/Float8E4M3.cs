// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>OCP FP8 e4m3 ("fn"): sign, 4 exponent bits with bias 7, 3 mantissa bits, subnormals, no infinities, 0x7F and 0xFF are NaN, largest 448.</summary>
internal static class Float8E4M3
{
    /// <summary>The value of each of the 256 codes; exact.</summary>
    public static ReadOnlySpan<float> Values => s_values;

    private static readonly float[] s_values = MakeValues();

    private static float[] MakeValues()
    {
        var values = new float[256];
        for (int code = 0; code < 256; code++)
        {
            int exponent = (code >> 3) & 15;
            int mantissa = code & 7;
            float magnitude = (exponent, mantissa) switch
            {
                (15, 7) => float.NaN,
                (0, _) => MathF.ScaleB(mantissa, -9),
                _ => MathF.ScaleB(8 + mantissa, exponent - 10),
            };
            values[code] = (code & 0x80) == 0 ? magnitude : -magnitude;
        }

        return values;
    }
}
