// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// Owner of the latent cache's memory: pages of (layers, <see cref="KvPage.Tokens"/>, kv_lora + rope), as BF16 or F32, a number of
/// them in each native block. The system gives a page its memory when it is first written to, so that what a block has beyond the
/// pages in use takes none.
/// </summary>
internal sealed unsafe class KvPages : IDisposable
{
    /// <summary>
    /// A block of its own for each page would make two mappings of it, one in huge pages and the rest, of which Linux allows a process
    /// 65,530 (vm.max_map_count): 147 GB of Kimi K2's cache would leave none for anybody.
    /// </summary>
    private const int PagesOfBlock = 32;

    private readonly List<AlignedBuffer<byte>> _blocks = [];
    private readonly long _layerBytes;
    private readonly int _layerCount;
    private int _count;

    public KvPages(ModelShape shape, bool bfloat16)
    {
        IsBFloat16 = bfloat16;
        SlotBytes = shape.CacheWidth * (bfloat16 ? sizeof(ushort) : sizeof(float));
        _layerBytes = (long)SlotBytes * KvPage.Tokens;
        _layerCount = shape.LayerCount;
        BytesPerPage = _layerBytes * _layerCount;
    }

    public bool IsBFloat16 { get; }

    /// <summary>Bytes of one token in one layer.</summary>
    public int SlotBytes { get; }

    public long BytesPerPage { get; }

    /// <summary>Makes the first pages usable; contents of those that are stay.</summary>
    /// <exception cref="OutOfMemoryException">The system has no room for so many; those that could be made are.</exception>
    public void Reserve(int count)
    {
        for (; _count < count; _count++)
        {
            if (_count == _blocks.Count * PagesOfBlock)
            {
                _blocks.Add(new AlignedBuffer<byte>(PagesOfBlock * BytesPerPage));
            }

            // Page by page, since a block may be too large for it.
            FreshMemory.Fill(Page(_count), (nuint)BytesPerPage);
        }
    }

    /// <summary>The first slot of a layer in a page; the others follow <see cref="SlotBytes"/> apart.</summary>
    public byte* Slots(int page, int layer) => Page(page) + (layer * _layerBytes);

    /// <summary>Writes one token's latent and rotary key.</summary>
    /// <param name="page">Which page.</param>
    /// <param name="layer">Which layer.</param>
    /// <param name="slot">0 … <see cref="KvPage.Tokens"/> - 1.</param>
    /// <param name="values">(kv_lora + rope).</param>
    public void Write(int page, int layer, int slot, ReadOnlySpan<float> values)
    {
        byte* target = Slots(page, layer) + ((long)slot * SlotBytes);
        if (!IsBFloat16)
        {
            values.CopyTo(new Span<float>(target, values.Length));
            return;
        }

        for (int i = 0; i < values.Length; i++)
        {
            ((ushort*)target)[i] = BFloat16.FromSingle(values[i]);
        }
    }

    /// <summary>Overwrites a page with another one's contents.</summary>
    public void Copy(int source, int target) => Buffer.MemoryCopy(Page(source), Page(target), BytesPerPage, BytesPerPage);

    /// <summary>Copies the first tokens of a page out, (layers, tokens, kv_lora + rope).</summary>
    public void Read(int page, int tokens, Span<byte> bytes)
    {
        int layerBytes = CheckedLayerBytes(tokens, bytes.Length);
        for (int layer = 0; layer < _layerCount; layer++)
        {
            new ReadOnlySpan<byte>(Slots(page, layer), layerBytes).CopyTo(bytes[(layer * layerBytes)..]);
        }
    }

    /// <summary>The reverse of <see cref="Read"/>.</summary>
    public void Write(int page, int tokens, ReadOnlySpan<byte> bytes)
    {
        int layerBytes = CheckedLayerBytes(tokens, bytes.Length);
        for (int layer = 0; layer < _layerCount; layer++)
        {
            bytes.Slice(layer * layerBytes, layerBytes).CopyTo(new Span<byte>(Slots(page, layer), layerBytes));
        }
    }

    public void Dispose()
    {
        _blocks.ForEach(b => b.Dispose());
        _blocks.Clear();
        _count = 0;
    }

    private byte* Page(int page) => _blocks[page / PagesOfBlock].Pointer + (page % PagesOfBlock * BytesPerPage);

    private int CheckedLayerBytes(int tokens, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tokens);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens, KvPage.Tokens);
        ArgumentOutOfRangeException.ThrowIfNotEqual(length, tokens * SlotBytes * _layerCount);
        return tokens * SlotBytes;
    }
}
