// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// A few queries that pass over pages of keys and values together, and what each has gathered so far. What becomes of a query
/// never depends on those beside it, unless there is a NaN or an infinity in a page that they pass over together: what one does not see weighs zero.
/// </summary>
/// <param name="keyWidth">Columns of a key.</param>
/// <param name="valueWidth">Columns of a value.</param>
internal abstract unsafe class AttentionQueries(int keyWidth, int valueWidth) : IDisposable
{
    /// <summary>Queries that take not much longer together than half of them.</summary>
    public abstract int Lanes { get; }

    /// <summary>Queries of a row.</summary>
    public int Heads { get; private set; }

    /// <summary>Rows times heads.</summary>
    public int Count { get; private set; }

    protected int KeyWidth { get; } = keyWidth;

    protected int ValueWidth { get; } = valueWidth;

    /// <summary>The fastest of this machine.</summary>
    /// <param name="keyWidth">Columns of a key.</param>
    /// <param name="valueWidth">Columns of a value.</param>
    /// <param name="bfloat16">Whether keys and values come in BF16; else in F32.</param>
    /// <param name="products">Multiplies BF16 as it is, with queries and weights rounded to BF16; null to widen it to floats.</param>
    public static AttentionQueries Best(int keyWidth, int valueWidth, bool bfloat16, BFloat16Products? products) =>
        bfloat16 && products is not null ? new RoundedQueries(keyWidth, valueWidth, products) : Of(CpuFeatures.Best, keyWidth, valueWidth, bfloat16);

    /// <summary>Those in single precision with a given instruction set, which must be supported.</summary>
    public static AttentionQueries Of(InstructionSet set, int keyWidth, int valueWidth, bool bfloat16) => set switch
    {
        InstructionSet.Avx512 => new QueryLanes<Lanes512>(keyWidth, valueWidth, bfloat16),
        InstructionSet.Avx2 => new QueryLanes<Lanes256>(keyWidth, valueWidth, bfloat16),
        InstructionSet.Vector128 => new QueryLanes<Lanes128>(keyWidth, valueWidth, bfloat16),
        _ => new QueryLanes<LanesScalar>(keyWidth, valueWidth, bfloat16),
    };

    /// <summary>Takes queries.</summary>
    /// <param name="query">(rows, heads, key's columns).</param>
    /// <param name="stride">Floats from row to row.</param>
    /// <param name="rows">Of consecutive tokens, each of which sees one more than the one before.</param>
    /// <param name="heads">Queries of a row; rows times heads at most <see cref="LatentAttention.MostQueries"/>.</param>
    public void Set(float* query, long stride, int rows, int heads)
    {
        Heads = heads;
        Count = rows * heads;
        Take(query, stride);
    }

    /// <summary>Begins with nothing gathered.</summary>
    public abstract void Clear();

    /// <summary>Gathers from a page.</summary>
    /// <param name="page">Up to <see cref="KvPage.Tokens"/> keys and values.</param>
    /// <param name="count">Tokens in it that the last row sees.</param>
    /// <param name="visible">Tokens that the first row sees, from the page's first on: none if negative.</param>
    /// <param name="next">Keys of the page that comes next, for implementations that ask for it; null for none.</param>
    public abstract void Visit(in KeyValuePage page, int count, int visible, byte* next);

    /// <summary>What a query has gathered, as an <see cref="AttentionPart"/>.</summary>
    public void Write(int query, float* part)
    {
        new ReadOnlySpan<float>(Values(query), ValueWidth).CopyTo(new Span<float>(part, ValueWidth));
        AttentionPart.SetSums(part, ValueWidth, Maximum(query), Sum(query));
    }

    /// <summary>Adds what a query has gathered to what it had gathered over the tokens before.</summary>
    /// <param name="query">Which.</param>
    /// <param name="isFirst">Whether there were none before; then the total is overwritten.</param>
    /// <param name="total">An <see cref="AttentionPart"/>.</param>
    public void AddTo(int query, bool isFirst, float* total)
    {
        if (isFirst)
        {
            Write(query, total);
        }
        else
        {
            AttentionPart.Add(Values(query), Maximum(query), Sum(query), total, ValueWidth);
        }
    }

    public abstract void Dispose();

    protected abstract void Take(float* query, long stride);

    /// <summary>(value's columns) of a query's <see cref="AttentionPart"/>.</summary>
    protected abstract float* Values(int query);

    protected abstract float Maximum(int query);

    protected abstract float Sum(int query);

    /// <summary>Tokens of a page that a query sees.</summary>
    protected int SeenBy(int query, int count, int visible) => Math.Clamp(visible + (query / Heads), 0, count);
}
