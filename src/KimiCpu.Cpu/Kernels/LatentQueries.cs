// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// A few queries that pass over cached pages together, and what each has gathered so far. What becomes of a query never
/// depends on those beside it.
/// </summary>
internal abstract unsafe class LatentQueries(ModelShape shape) : IDisposable
{
    protected int LatentSize { get; } = shape.KeyValueLoraRank;

    /// <summary>Columns of a key.</summary>
    protected int Width { get; } = shape.CacheWidth;

    protected int Heads { get; private set; }

    /// <summary>Rows times heads.</summary>
    protected int Count { get; private set; }

    /// <summary>Takes queries.</summary>
    /// <param name="query">(rows, heads, kv_lora + rope).</param>
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
    /// <param name="page">Its first slot.</param>
    /// <param name="count">Tokens in it that the last row sees.</param>
    /// <param name="visible">Tokens that the first row sees, from the page's first on: none if negative.</param>
    /// <param name="next">The page that comes next, to be asked for; null for none.</param>
    public abstract void Visit(byte* page, int count, int visible, byte* next);

    /// <summary>What a query has gathered, as an <see cref="AttentionPart"/>.</summary>
    public abstract void Write(int query, float* part);

    public abstract void Dispose();

    protected abstract void Take(float* query, long stride);

    /// <summary>Copies the queries, (rows, heads, kv_lora + rope), dense.</summary>
    protected void Copy(float* query, long stride, float* target)
    {
        int columns = Heads * Width;
        for (int first = 0; first < Count; first += Heads, query += stride, target += columns)
        {
            new ReadOnlySpan<float>(query, columns).CopyTo(new Span<float>(target, columns));
        }
    }

    /// <summary>Tokens of a page that a query sees.</summary>
    protected int SeenBy(int query, int count, int visible) => Math.Clamp(visible + (query / Heads), 0, count);
}
