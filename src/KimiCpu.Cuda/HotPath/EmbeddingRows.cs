// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;

namespace KimiCpu.Cuda.HotPath;

/// <summary>Rows of the embedding, from the checkpoint's mapping.</summary>
internal static unsafe class EmbeddingRows
{
    /// <summary>Exact.</summary>
    public static void Decode(in WeightMatrix embedding, int row, Span<float> values)
    {
        if (embedding.Format == WeightFormat.BFloat16)
        {
            byte* stored = embedding.Data + (row * embedding.RowBytes);
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(stored + (2L * i)));
            }

            return;
        }

        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (float)ReferenceLinear.Element(embedding, row, i);
        }
    }
}
