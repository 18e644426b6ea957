// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute.Reference;

/// <summary>
/// Multi-head latent attention in its expanded form: keys and values of every head are made from the cached latents and
/// used like those of ordinary attention. Independent of the absorbed form that the fast paths use.
/// </summary>
internal static class ReferenceAttention
{
    /// <summary>Attention of the new tokens of one sequence.</summary>
    /// <param name="shape">Head counts and sizes.</param>
    /// <param name="keyValueB">(heads x (nope + v), kv_lora).</param>
    /// <param name="query">(new tokens, heads, nope + rope), rotated.</param>
    /// <param name="latents">(all tokens, kv_lora), normalized; the new tokens last.</param>
    /// <param name="rotaryKeys">(all tokens, rope), rotated.</param>
    /// <param name="output">(new tokens, heads, v).</param>
    public static void Attend(ModelShape shape, in WeightMatrix keyValueB, ReadOnlySpan<float> query, ReadOnlySpan<float> latents, ReadOnlySpan<float> rotaryKeys, Span<float> output)
    {
        int nope = shape.NopeHeadSize;
        int rope = shape.RopeHeadSize;
        int valueSize = shape.ValueHeadSize;
        int total = latents.Length / shape.KeyValueLoraRank;
        int fresh = output.Length / (shape.HeadCount * valueSize);
        int width = shape.HeadCount * (nope + valueSize);
        var expanded = new float[total * width];
        ReferenceLinear.Multiply(keyValueB, latents, total, expanded);
        for (int t = 0; t < fresh; t++)
        {
            int visible = total - fresh + t + 1;
            for (int h = 0; h < shape.HeadCount; h++)
            {
                ReadOnlySpan<float> q = query.Slice(((t * shape.HeadCount) + h) * (nope + rope), nope + rope);
                var probabilities = new double[visible];
                for (int s = 0; s < visible; s++)
                {
                    ReadOnlySpan<float> key = expanded.AsSpan((s * width) + (h * (nope + valueSize)), nope);
                    double score = 0;
                    for (int i = 0; i < nope; i++)
                    {
                        score += (double)q[i] * key[i];
                    }

                    for (int i = 0; i < rope; i++)
                    {
                        score += (double)q[nope + i] * rotaryKeys[(s * rope) + i];
                    }

                    probabilities[s] = score * shape.SoftmaxScale;
                }

                ReferenceOps.Softmax(probabilities);
                for (int v = 0; v < valueSize; v++)
                {
                    double sum = 0;
                    for (int s = 0; s < visible; s++)
                    {
                        sum += probabilities[s] * expanded[(s * width) + (h * (nope + valueSize)) + nope + v];
                    }

                    output[(((t * shape.HeadCount) + h) * valueSize) + v] = (float)sum;
                }
            }
        }
    }
}
