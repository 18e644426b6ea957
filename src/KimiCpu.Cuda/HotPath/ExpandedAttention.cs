// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// Attention of sequences with many new tokens in a pass: keys and values of their past and of themselves are expanded for every
/// head, block by block, so that a score and its value take 320 multiplications instead of 1,088. Blocks of tokens bound the memory.
/// </summary>
/// <param name="shape">Of the model.</param>
/// <param name="kernels">Of the GPU.</param>
/// <param name="memory">Where keys and values go; it has no room for any where memory is scarce.</param>
/// <param name="stream">Where to.</param>
/// <param name="cached">Format of the cache.</param>
/// <param name="fewestRows">Fewest new tokens of a sequence, more than what is recorded as graphs.</param>
internal sealed class ExpandedAttention(ModelShape shape, KernelSet kernels, Workspace memory, CudaStream stream, CacheFormat cached, int fewestRows)
{
    private const float Log2E = 1.4426950408889634f;

    /// <summary>Tokens that are expanded at once: 67 MB for Kimi K2. Sums are written and read once a block, a twentieth of the time that a block takes (computed).</summary>
    public const int BlockTokens = 2048;

    /// <summary>Fewest new tokens of a sequence for which expanding takes fewer operations.</summary>
    /// <remarks>
    /// By multiplications of a head and a token of the past. Absorbed, every new token takes kv_lora + rope for its score and kv_lora for
    /// what it attends; expanded, nope + rope and v. Expanding takes (nope + v) kv_lora, once for all of them. So it pays from
    /// (nope + v) kv_lora / (2 kv_lora - nope - v) new tokens on, 171 for Kimi K2, however long the past is. What
    /// it spares besides, absorbing queries and expanding what they attended, is left out: it is that of a few tokens of the past.
    /// </remarks>
    public static int FewestRows(ModelShape shape)
    {
        long spared = (2L * shape.KeyValueLoraRank) - shape.NopeHeadSize - shape.ValueHeadSize;
        long expanding = (long)(shape.NopeHeadSize + shape.ValueHeadSize) * shape.KeyValueLoraRank;
        return spared <= 0 ? int.MaxValue : (int)Math.Max(CudaHotPath.GraphRows + 1, (expanding + spared - 1) / spared);
    }

    /// <summary>Whether so many new tokens of a sequence take this way.</summary>
    public bool Takes(int rows, DeviceWeight keyValueB) => rows >= fewestRows && memory.ExpandedTokens > 0 && KernelSet.SuitsGemm(keyValueB);

    /// <summary>Attends for all new tokens of a sequence, to <see cref="Workspace.Values"/>.</summary>
    public void Put(DeviceWeight keyValueB, in CacheArguments cache, in BatchSequence sequence)
    {
        CacheArguments ofRows = cache;
        ofRows.Lengths += (ulong)sequence.FirstRow * sizeof(uint);
        ofRows.Tables += (ulong)sequence.FirstRow * sizeof(uint);
        ulong firstPlace = (ulong)sequence.FirstRow * sizeof(float) * (ulong)shape.HeadCount;
        int end = sequence.Start + sequence.RowCount;
        for (int begin = 0; begin < end; begin += memory.ExpandedTokens)
        {
            int tokens = Math.Min(memory.ExpandedTokens, end - begin);
            Expand(keyValueB, ofRows, begin, tokens);
            kernels.AttendExpanded(stream, cached, new AttendExpandedArguments
            {
                Cache = ofRows,
                Expanded = memory.Expanded,
                Query = memory.Query + (firstPlace * (ulong)(shape.NopeHeadSize + shape.RopeHeadSize)),
                Values = memory.Values + (firstPlace * (ulong)shape.ValueHeadSize),
                State = memory.AttentionState + (firstPlace * 2),
                Heads = (uint)shape.HeadCount,
                Batch = (uint)sequence.RowCount,
                Begin = (uint)begin,
                End = (uint)(begin + tokens),
                Scale = shape.SoftmaxScale * Log2E,
            });
        }
    }

    /// <summary>Keys and values of a block.</summary>
    private void Expand(DeviceWeight keyValueB, in CacheArguments cache, int first, int tokens)
    {
        kernels.GatherLatents(stream, cached, new GatherArguments
        {
            Cache = cache,
            Latents = memory.Gathered,
            First = (uint)first,
            Tokens = (uint)tokens,
            ForBytes = KernelSet.ForBytes(keyValueB.Format),
        });
        kernels.GemmLatents(stream, keyValueB.Format, new GemmArguments
        {
            First = keyValueB.Matrix,
            FirstOutput = memory.Expanded,
            Input = memory.Gathered,
            Batch = (uint)tokens,
            Stride = (uint)shape.KeyValueLoraRank,
            Heads = 1,
            HeadRows = keyValueB.Matrix.Rows,
        });
    }
}
