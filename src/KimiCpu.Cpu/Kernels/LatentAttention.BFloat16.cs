// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Pages of BF16 as they are stored, where the CPU multiplies them; queries and e^(score - maximum) are rounded to BF16.</summary>
internal sealed unsafe partial class LatentAttention
{
    private readonly BFloat16Products? _products;
    private readonly BFloat16Tiles? _roundedQueries;
    private readonly BFloat16Pairs? _values;
    private readonly AlignedBuffer<ushort>? _roundedScores;

    private void RoundQueries(int queries)
    {
        _roundedQueries!.Resize(queries, _width);
        for (int tile = 0; tile < _products!.Tiles.Count(queries); tile++)
        {
            _roundedQueries.Write(tile, _queries.Pointer, _width);
        }
    }

    /// <summary>As <see cref="Visit"/>; tokens that a row does not see weigh zero, so that all rows take the page at once.</summary>
    private void VisitBFloat16(byte* page, int count, int visible, int rows, int heads)
    {
        int queries = rows * heads;
        var keys = new WeightMatrix(WeightFormat.BFloat16, count, _width, page);
        _products!.Multiply(keys, 0, count, _roundedQueries!, _scores.Pointer, KvPage.Tokens);
        for (int query = 0; query < queries; query++)
        {
            int seen = Math.Clamp(visible + (query / heads), 0, count);
            ushort* rounded = _roundedScores!.Pointer + (query * KvPage.Tokens);
            if (seen > 0)
            {
                Rescale(query, seen);
                BFloat16Rounding.Round(_scores.Pointer + (query * KvPage.Tokens), seen, rounded);
            }

            new Span<ushort>(rounded + seen, KvPage.Tokens - seen).Clear();
        }

        _values!.Set(page, keys.RowBytes, count, _latentSize, next: page);
        _products.Accumulate(_values, _roundedScores!.Pointer, queries, _contexts.Pointer, _contextWidth);
    }
}
