// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>
/// A paged cache whose pages lie in any order, random where there are tokens and NaN behind them. In 8 bits some groups of columns are
/// zero, some have the smallest factors there are, and some are larger than the others. What it says of its values is what it was made of, or what the
/// device had when it was fetched.
/// </summary>
internal sealed class PagedCache
{
    // Pages are far from the beginning of the memory, as those of a large cache are: an offset of 32 bits would not reach them.
    private const int FirstPage = 7_000_000;
    private readonly KernelHarness _harness;
    private readonly ulong _address;
    private readonly int[] _tables;
    private readonly int[] _pages;
    private readonly int _latent;
    private readonly int _rope;
    private readonly int _groups;
    private readonly int _layerBytes;
    private byte[] _bytes;

    public PagedCache(KernelHarness harness, CacheFormat format, int[] lengths, int latent, int rope)
    {
        (_harness, Format, _latent, _rope, _groups) = (harness, format, latent, rope, (latent + 127) / 128);
        int[] needed = [.. lengths.Select(l => (l + KvPage.Tokens - 1) / KvPage.Tokens)];
        int count = needed.Sum();
        _pages = [.. Enumerable.Range(0, count).OrderBy(p => (p * 7919) % 1009)];
        _tables = [.. needed.Select((_, i) => needed[..i].Sum())];

        // A page has two layers; the second one is used.
        _layerBytes = KvPage.Tokens * (format == CacheFormat.BFloat16 ? 2 * (latent + rope) : latent + (2 * rope) + (2 * _groups));
        _bytes = new byte[count * 2 * _layerBytes];
        _bytes.AsSpan().Fill(0xFF);
        var random = new Random(lengths.Length + latent);
        for (int row = 0; row < lengths.Length; row++)
        {
            for (int token = 0; token < lengths[row]; token++)
            {
                Fill(row, token, random);
            }
        }

        _address = harness.Put<byte>(_bytes);
        Arguments = new CacheArguments
        {
            Layer = unchecked(_address + (ulong)_layerBytes - (FirstPage * 2 * (ulong)_layerBytes)),
            Lengths = harness.Put<int>(lengths),
            Tables = harness.Put<int>(_tables),
            Pages = harness.Put<int>([.. _pages.Select(p => FirstPage + p)]),
            PageBytes = (ulong)(2 * _layerBytes),
            Latent = (uint)latent,
            Rope = (uint)rope,
        };
    }

    public CacheFormat Format { get; }

    public CacheArguments Arguments { get; }

    /// <summary>Where each row's page table begins.</summary>
    public IReadOnlyList<int> Tables => _tables;

    /// <summary>The values that the kernels have: latent, then key.</summary>
    public double[] Slot(int row, int token)
    {
        double[] latent = Format == CacheFormat.BFloat16
            ? [.. MemoryMarshal.Cast<byte, ushort>(Latent(row, token)).ToArray().Select(v => (double)BFloat16.ToSingle(v))]
            : [.. Bytes(row, token).Select((v, i) => v * (double)Factors(row, token)[i / 128])];
        return [.. latent, .. Key(row, token).ToArray().Select(v => (double)BFloat16.ToSingle(v))];
    }

    /// <summary>In 8 bits.</summary>
    public sbyte[] Bytes(int row, int token) => MemoryMarshal.Cast<byte, sbyte>(Latent(row, token)).ToArray();

    /// <summary>In 8 bits: one for 128 columns.</summary>
    public Span<Half> Factors(int row, int token) =>
        MemoryMarshal.Cast<byte, Half>(_bytes.AsSpan(Layer(row, token) + (KvPage.Tokens * (_latent + (2 * _rope))) + (token % KvPage.Tokens * _groups * 2), 2 * _groups));

    /// <summary>Makes a token's slot NaN.</summary>
    public void Poison(int row, int token)
    {
        Latent(row, token).Fill(0xFF);
        Key(row, token).Fill(0xFFFF);
        if (Format == CacheFormat.Int8)
        {
            Factors(row, token).Fill(Half.NaN);
        }

        _harness.Write<byte>(_address, _bytes);
    }

    /// <summary>Gives all values of a token's key one value.</summary>
    public void SetKey(int row, int token, float value)
    {
        Key(row, token).Fill(BFloat16.FromSingle(value));
        _harness.Write<byte>(_address, _bytes);
    }

    /// <summary>Takes what the device has now.</summary>
    public void Fetch() => _bytes = _harness.Get<byte>(_address, _bytes.Length);

    private void Fill(int row, int token, Random random)
    {
        ushort Next() => BFloat16.FromSingle((random.NextSingle() * 2) - 1);
        foreach (ref ushort value in Key(row, token))
        {
            value = Next();
        }

        if (Format == CacheFormat.BFloat16)
        {
            foreach (ref ushort value in MemoryMarshal.Cast<byte, ushort>(Latent(row, token)))
            {
                value = Next();
            }

            return;
        }

        foreach (ref byte value in Latent(row, token))
        {
            value = (byte)random.Next(-127, 128);
        }

        for (int g = 0; g < _groups; g++)
        {
            Factors(row, token)[g] = ((token + (3 * g) + 4) % 13) switch
            {
                0 => (Half)0,
                1 => Half.Epsilon,
                2 => (Half)(0.02f * random.NextSingle()),
                _ => (Half)((1 + random.NextSingle()) / 254),
            };
        }
    }

    private int Layer(int row, int token) => ((_pages[_tables[row] + (token / KvPage.Tokens)] * 2) + 1) * _layerBytes;

    private Span<byte> Latent(int row, int token)
    {
        int stride = Format == CacheFormat.BFloat16 ? 2 * (_latent + _rope) : _latent;
        return _bytes.AsSpan(Layer(row, token) + (token % KvPage.Tokens * stride), Format == CacheFormat.BFloat16 ? 2 * _latent : _latent);
    }

    private Span<ushort> Key(int row, int token)
    {
        int place = token % KvPage.Tokens;
        int first = Format == CacheFormat.BFloat16 ? (place * 2 * (_latent + _rope)) + (2 * _latent) : (KvPage.Tokens * _latent) + (place * 2 * _rope);
        return MemoryMarshal.Cast<byte, ushort>(_bytes.AsSpan(Layer(row, token) + first, 2 * _rope));
    }
}
