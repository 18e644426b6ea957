// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Security.Cryptography;
using KimiCpu.Model;

namespace KimiCpu.Sessions;

/// <summary>
/// Names pages by all that their contents depend on: model, arithmetic and format, and every token from the beginning of the text to the end of
/// the page. SHA-256, since nobody must be able to find two texts with one name: one would be answered from the other.
/// </summary>
internal static class PageKey
{
    /// <summary>Raised with every change of the files' layout; files of other versions are found by nobody then.</summary>
    private const string Format = "KimiCpu page of the cache, format 1\n";

    /// <summary>What the keys of a model's pages begin with.</summary>
    /// <param name="header">Of a session of that model and that cache.</param>
    public static byte[] Root(SessionHeader header)
    {
        byte[] model = (header with { ModelName = "", TokenCount = 0, ApplicationBytes = 0 }).ToBytes();
        return SHA256.HashData([.. System.Text.Encoding.UTF8.GetBytes(Format), .. model]);
    }

    /// <param name="parent">Key of what comes before.</param>
    /// <param name="tokens">Of a whole page.</param>
    public static byte[] Next(byte[] parent, ReadOnlySpan<int> tokens)
    {
        Span<byte> bytes = stackalloc byte[parent.Length + (tokens.Length * sizeof(int))];
        parent.CopyTo(bytes);
        MemoryMarshal.AsBytes(tokens).CopyTo(bytes[parent.Length..]);
        return SHA256.HashData(bytes);
    }

    /// <summary>The key of a whole page in a tree whose root has one. Remembered with the page, so that the next one's takes a single step.</summary>
    public static byte[] Of(CachedPage page)
    {
        var missing = new Stack<CachedPage>();
        CachedPage at = page;
        for (; at.Key is null; at = at.Parent!)
        {
            missing.Push(at);
        }

        while (missing.TryPop(out CachedPage? next))
        {
            next.Key = Next(next.Parent!.Key!, next.Tokens);
        }

        return page.Key!;
    }
}
