// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// How decoding's attention cuts a context: threads may attend to segments apart, and the softmax begins anew with each, so where they begin depends on
/// nothing but the position. They are short at a context's beginning, where few of them meet many threads, and longer behind, where adding many to each
/// other would take time and memory. Those of 512 tokens are added to each other first, by pairs and pairs of pairs, and these sums by rising position: whoever attends to several of them
/// leaves one sum.
/// </summary>
internal static class ContextSegments
{
    private const int Short = 2 * KvPage.Tokens;
    private const int Medium = 2 * Short;
    private const int Long = 2 * Medium;

    /// <summary>Tokens that are in short segments, and in short or medium ones.</summary>
    private const int ShortEnd = 16 * Short;
    private const int MediumEnd = ShortEnd + (24 * Medium);

    private const int ShortCount = ShortEnd / Short;
    private const int MediumCount = (MediumEnd - ShortEnd) / Medium;

    /// <summary>Segments of a context of so many tokens.</summary>
    public static int Count(int tokens) => tokens switch
    {
        <= ShortEnd => Parts(tokens, Short),
        <= MediumEnd => ShortCount + Parts(tokens - ShortEnd, Medium),
        _ => ShortCount + MediumCount + Parts(tokens - MediumEnd, Long),
    };

    /// <summary>Position of a segment's first token, the first of a page. That of the next one is where it ends in a context that is longer.</summary>
    public static int Begin(int segment) => segment switch
    {
        <= ShortCount => segment * Short,
        <= ShortCount + MediumCount => ShortEnd + ((segment - ShortCount) * Medium),
        _ => MediumEnd + ((segment - ShortCount - MediumCount) * Long),
    };

    /// <summary>Segments of the 512 tokens that begin with one; 1, 2 or 4, of which the last ones may be behind the context's end.</summary>
    public static int Together(int segment) => segment < ShortCount ? Long / Short : segment < ShortCount + MediumCount ? Long / Medium : 1;

    private static int Parts(int tokens, int size) => (tokens + size - 1) / size;
}
