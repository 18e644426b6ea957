// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text;
using KimiCpu.Tokens;

namespace KimiCpu.Benchmarks.Constraints;

/// <summary>
/// A tokenizer of 163,840 ids as Kimi K2 has them, of made-up tokens in about the proportions of large vocabularies: words with
/// and without a blank before them, capitalised ones, code with quotes and brackets, Han and other scripts, digits, runs of
/// blanks, and parts of characters.
/// </summary>
internal static class SyntheticVocabulary
{
    private const int Ranks = 163_584;

    private static readonly string[] s_syllables =
    [
        "a", "e", "i", "o", "u", "an", "en", "in", "on", "er", "or", "al", "st", "tion", "ment", "re", "de", "con", "pro", "ing", "ed", "ly", "th", "sh", "ch", "qu", "pre", "ter", "ver", "able", "ist",
        "form", "port", "ness", "ful", "less", "ra", "ti", "mo", "ne", "si", "ka", "ri", "lo", "ma", "to", "da", "be", "su", "po", "ge", "vi", "co", "me", "la", "pe", "ce", "ni", "ro", "ta",
    ];

    private static readonly string[] s_symbols = ["\"", "\"\"", "\":", "\": ", "\",", "\", ", "\"}", "\"},", "\"]", "{\"", "[\"", "{", "}", "[", "]", "},", "],", "}}", "]]", "[]", "{}", "\\", "\\\"", "\\n", "\\u", "\n", "\n\n", "\t", "(", ")", "();", "->", "=>", "==", "/*", "*/", "//", "<", ">", "</", "'", "`", ":", ";", ",", ".", "...", "!", "?", "#", "$", "%", "&", "@", "^", "~", "|", "_", "-", "+", "*", "="];

    /// <summary>The tokenizer, and how many bytes its tokens have on average.</summary>
    public static (KimiTokenizer Tokenizer, double MeanBytes) Make()
    {
        var random = new Random(1);
        var tokens = new List<byte[]>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (int value = 0; value < 256; value++)
        {
            Add([(byte)value]);
        }

        for (int digits = 0; digits < 1110; digits++)
        {
            Add(Encoding.ASCII.GetBytes(digits < 10 ? $"{digits}" : digits < 110 ? $"{digits - 10:00}" : $"{digits - 110:000}"));
        }

        for (int length = 2; length <= 128; length++)
        {
            Add(Encoding.ASCII.GetBytes(new string(' ', length)));
        }

        while (tokens.Count < Ranks)
        {
            Add(Random(random));
        }

        string folder = Directory.CreateTempSubdirectory("kimicpu-vocabulary").FullName;
        try
        {
            File.WriteAllLines(Path.Combine(folder, "tiktoken.model"), tokens.Select((t, i) => $"{Convert.ToBase64String(t)} {i}"));
            string[] names = ["[BOS]", "[EOS]", "<|im_end|>", "<think>", "</think>"];
            File.WriteAllText(
                Path.Combine(folder, "tokenizer_config.json"),
"{\"added_tokens_decoder\":{" + string.Join(',', names.Select((n, i) => string.Create(CultureInfo.InvariantCulture, $"\"{Ranks + i}\":{{\"content\":\"{n}\"}}"))) + "}}");
            return (KimiTokenizer.Open(folder), tokens.Average(t => t.Length));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        void Add(byte[] token)
        {
            if (seen.Add(Convert.ToBase64String(token)))
            {
                tokens.Add(token);
            }
        }
    }

    private static byte[] Random(Random random)
    {
        int kind = random.Next(100);
        string word = string.Concat(Enumerable.Range(0, random.Next(1, 5)).Select(_ => s_syllables[random.Next(s_syllables.Length)]));
        string text = kind switch
        {
            < 36 => " " + word,
            < 56 => word,
            < 66 => (random.Next(2) == 0 ? " " : "") + char.ToUpperInvariant(word[0]) + word[1..],
            < 76 => s_symbols[random.Next(s_symbols.Length)] + word,
            < 80 => word + s_symbols[random.Next(s_symbols.Length)],
            < 84 => s_symbols[random.Next(s_symbols.Length)] + s_symbols[random.Next(s_symbols.Length)],
            < 86 => "\n" + new string(' ', random.Next(1, 60)),
            < 94 => string.Concat(Enumerable.Range(0, random.Next(1, 4)).Select(_ => char.ConvertFromUtf32(random.Next(0x4E00, 0x9FFF)))),
            < 97 => string.Concat(Enumerable.Range(0, random.Next(1, 6)).Select(_ => char.ConvertFromUtf32(random.Next(0x400, 0x450)))),
            _ => string.Concat(Enumerable.Range(0, random.Next(1, 4)).Select(_ => char.ConvertFromUtf32(random.Next(0xAC00, 0xD7A3)))),
        };
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        return kind == 99 ? bytes[..^1] : bytes;
    }
}
