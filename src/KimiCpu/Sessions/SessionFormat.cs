// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Hashing;

namespace KimiCpu.Sessions;

/// <summary>
/// Layout of a saved session, little endian. First the opening: <see cref="Magic"/>, the version as int32, the bytes of the
/// header as int32. Then blocks, each followed by its XxHash3 of 64 bits: the header (the opening is hashed with it), the
/// tokens as int32, the application's bytes, and the cache's pages in order, (layers, tokens of the page, kv_lora + rope)
/// each. A block's hash is seeded with the hash of the tokens (the tokens' with the header's) and its number, so that no
/// block can stand in for another one. Nothing follows the last page. A session whose pages were lost has none, and 0 bytes a token.
/// </summary>
internal static class SessionFormat
{
    public const int Version = 1;
    public const int OpeningBytes = 16;
    public const int HashBytes = sizeof(ulong);

    /// <summary>A header is a few dozen bytes and two short texts; anything longer is no header.</summary>
    public const int MaxHeaderBytes = 1 << 16;

    /// <summary>More than any context.</summary>
    public const int MaxTokens = 1 << 28;

    /// <summary>Most bytes of the application.</summary>
    public const int MaxApplicationBytes = 1 << 28;

    /// <summary>The end of line is damaged by transfers in text mode.</summary>
    public static ReadOnlySpan<byte> Magic => "KimiKV\r\n"u8;

    /// <param name="block">The bytes.</param>
    /// <param name="seed">Hash that it follows from.</param>
    /// <param name="number">Of the block.</param>
    public static ulong Hash(ReadOnlySpan<byte> block, ulong seed, int number) => XxHash3.HashToUInt64(block, (long)(seed + (ulong)number));
}

/// <summary>What a saved session is, and whose.</summary>
/// <param name="Model">See <see cref="ModelIdentity"/>.</param>
/// <param name="ModelName">To show.</param>
/// <param name="Arithmetic">How the cached values were rounded, in words that are never changed.</param>
/// <param name="BytesPerToken">Cache bytes of a token over all layers.</param>
/// <param name="PageTokens">Tokens of a full page.</param>
/// <param name="TokenCount">Tokens in the file.</param>
/// <param name="ApplicationBytes">Bytes of the application.</param>
internal sealed record SessionHeader(UInt128 Model, string ModelName, string Arithmetic, int BytesPerToken, int PageTokens, int TokenCount, int ApplicationBytes)
{
    /// <summary>Stands in place of the arithmetic where there are no pages; no model has it. Never reworded, since it stands in files.</summary>
    public const string LostPages = "a GPU that was lost";

    /// <summary>Bytes of the file behind the header's hash.</summary>
    public long BodyBytes =>
        ((long)TokenCount * (sizeof(int) + BytesPerToken)) + ApplicationBytes + (SessionFormat.HashBytes * (2 + PageCount));

    /// <summary>Bytes of a full page.</summary>
    public long PageBytes => (long)BytesPerToken * PageTokens;

    public long PageCount => BytesPerToken == 0 ? 0 : ((long)TokenCount + PageTokens - 1) / PageTokens;

    /// <summary>Tokens of a page.</summary>
    public int TokensOf(int page) => Math.Min(PageTokens, TokenCount - (page * PageTokens));

    public byte[] ToBytes()
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        writer.Write((ulong)(Model >> 64));
        writer.Write((ulong)Model);
        writer.Write(BytesPerToken);
        writer.Write(PageTokens);
        writer.Write(TokenCount);
        writer.Write(ApplicationBytes);
        writer.Write(ModelName);
        writer.Write(Arithmetic);
        return bytes.ToArray();
    }

    public static SessionHeader Of(byte[] bytes)
    {
        using var reader = new BinaryReader(new MemoryStream(bytes));
        var model = new UInt128(reader.ReadUInt64(), reader.ReadUInt64());
        (int bytesPerToken, int pageTokens, int tokens, int application) = (reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32());
        string name = reader.ReadString();
        return new SessionHeader(model, name, reader.ReadString(), bytesPerToken, pageTokens, tokens, application);
    }
}
