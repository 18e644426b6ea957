// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>Where the activations of a pass lie in one allocation. Nothing is allocated while the model runs.</summary>
internal sealed class Workspace
{
    /// <summary>Rows that attention takes at once; their partial sums are what is large.</summary>
    public const int AttendRows = 8;

    /// <summary>Rows that attention of prompts takes at once: what it attended then fits where partial sums go otherwise.</summary>
    public const int PromptAttendRows = AttendRows * KernelSet.MaxSplits;

    /// <summary>Rows that the head takes at once.</summary>
    public const int LogitRows = 8;

    private readonly DeviceLayout _layout = new();

    /// <param name="shape">Of the model.</param>
    /// <param name="maxRows">Most tokens of a pass.</param>
    /// <param name="mlpWidth">Widest dense layer or shared expert.</param>
    /// <param name="lookAhead">Whether layers guess the experts of the next one.</param>
    /// <param name="expandedTokens">Tokens whose keys and values are expanded at once; 0 where none are.</param>
    public Workspace(ModelShape shape, int maxRows, int mlpWidth, bool lookAhead, int expandedTokens)
    {
        long rows = maxRows;
        int queryWidth = shape.NopeHeadSize + shape.RopeHeadSize;
        Floats(rows * shape.HiddenSize, p => Residual = p);
        Floats(rows * Math.Max(1, shape.QueryLoraRank), p => QueryLatent = p);
        Floats(rows * shape.CacheWidth, p => Latent = p);
        Floats(rows * shape.HeadCount * queryWidth, p => Query = p);
        Floats(rows * shape.HeadCount * shape.ValueHeadSize, p => Values = p);
        Floats(rows * mlpWidth, p => Gate = p);
        Floats(rows * mlpWidth, p => Up = p);
        Floats(rows * shape.HiddenSize, p => Shared = p);
        Floats(rows * shape.ExpertCount, p => RouterLogits = p);
        if (lookAhead)
        {
            Floats(rows * shape.ExpertCount, p => NextRouterLogits = p);
        }

        int widest = Math.Max(Math.Max(shape.HiddenSize, shape.QueryLoraRank), Math.Max(mlpWidth, shape.HeadCount * shape.ValueHeadSize));
        _layout.Add(2L * sizeof(ushort) * rows * KernelSet.PartStride(widest), p => Parts = p);
        long attendRows = KernelSet.SuitsAttendRows(shape) ? Math.Clamp(rows, AttendRows, PromptAttendRows) : AttendRows;
        _layout.Add(sizeof(ushort) * attendRows * shape.HeadCount * shape.CacheWidth, p => Absorbed = p);
        Floats((long)AttendRows * shape.HeadCount * KernelSet.MaxSplits * shape.KeyValueLoraRank, p => Partial = p);
        Floats((long)AttendRows * shape.HeadCount * KernelSet.MaxSplits, p => LogSums = p);
        Floats((long)LogitRows * shape.VocabularySize, p => Logits = p);
        _layout.Add(sizeof(uint), p => Finished = p);
        ExpandedTokens = expandedTokens;
        if (expandedTokens > 0)
        {
            _layout.Add((long)sizeof(ushort) * expandedTokens * shape.KeyValueLoraRank, p => Gathered = p);
            _layout.Add((long)sizeof(ushort) * expandedTokens * shape.HeadCount * (shape.NopeHeadSize + shape.ValueHeadSize), p => Expanded = p);
            Floats(2 * rows * shape.HeadCount, p => AttentionState = p);
        }
    }

    /// <summary>Of the allocation.</summary>
    public long Bytes => _layout.Bytes;

    /// <summary>(rows, hidden).</summary>
    public ulong Residual { get; private set; }

    /// <summary>(rows, q_lora).</summary>
    public ulong QueryLatent { get; private set; }

    /// <summary>(rows, kv_lora + rope).</summary>
    public ulong Latent { get; private set; }

    /// <summary>(rows, heads, nope + rope).</summary>
    public ulong Query { get; private set; }

    /// <summary>(rows, heads, v).</summary>
    public ulong Values { get; private set; }

    /// <summary>(rows, widest MLP).</summary>
    public ulong Gate { get; private set; }

    /// <summary>(rows, widest MLP).</summary>
    public ulong Up { get; private set; }

    /// <summary>(rows, hidden): the shared expert's output.</summary>
    public ulong Shared { get; private set; }

    /// <summary>(rows, experts).</summary>
    public ulong RouterLogits { get; private set; }

    /// <summary>(rows, experts) of the next MoE layer's router; 0 where nobody looks ahead.</summary>
    public ulong NextRouterLogits { get; private set; }

    /// <summary>(rows, 2, widest input): what <see cref="KernelSet.Gemm"/> multiplies, BF16.</summary>
    public ulong Parts { get; private set; }

    /// <summary>(<see cref="AttendRows"/> or <see cref="PromptAttendRows"/>, heads, kv_lora + rope) BF16.</summary>
    public ulong Absorbed { get; private set; }

    /// <summary>(<see cref="AttendRows"/>, heads, splits, kv_lora); or (<see cref="PromptAttendRows"/>, 2, heads, kv_lora) BF16.</summary>
    public ulong Partial { get; private set; }

    /// <summary>(<see cref="AttendRows"/>, heads, splits).</summary>
    public ulong LogSums { get; private set; }

    /// <summary>(<see cref="LogitRows"/>, vocabulary).</summary>
    public ulong Logits { get; private set; }

    /// <summary>Blocks of route that have written; zero between launches.</summary>
    public ulong Finished { get; private set; }

    /// <summary>Tokens of <see cref="Expanded"/>; 0 for none.</summary>
    public int ExpandedTokens { get; }

    /// <summary>(<see cref="ExpandedTokens"/>, kv_lora) BF16: latents out of their pages.</summary>
    public ulong Gathered { get; private set; }

    /// <summary>(<see cref="ExpandedTokens"/>, heads, nope + v) BF16: keys and values.</summary>
    public ulong Expanded { get; private set; }

    /// <summary>(rows, heads, 2): what attention over expanded keys carries from block to block, beside <see cref="Values"/>.</summary>
    public ulong AttentionState { get; private set; }

    /// <summary>Called once, when the allocation is made.</summary>
    public void Place(ulong address) => _layout.Place(address);

    private void Floats(long count, Action<ulong> set) => _layout.Add(count * sizeof(float), set);
}
