// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.RegularExpressions;
using KimiCpu.Tokens;
using Microsoft.ML.Tokenizers;

namespace KimiCpu.Tests.Tokens;

/// <summary>Independent judges: Microsoft.ML.Tokenizers for the merges, .NET's Regex for the pattern where it can express it.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed partial class TokenizerOracleTests
{
    private const string Alphabet = "aAbZzéÉñßſǅʰªЖж0٣½!?.,'’-_<|>[](){}\"#@ \t\r\n\u0085\u00a0\u2003\u0301\u0903sStTrReEvVmMlLdD";

    [Test]
    public void Merges_equal_those_of_Microsoft_ML_Tokenizers()
    {
        using FileStream ranks = File.OpenRead(Repository.Fixture("tokenizer", "public", "tokenizer", "tiktoken.model"));
        var oracle = TiktokenTokenizer.Create(ranks, new WholeText(), normalizer: null);
        string shakespeare = string.Join(' ', TokenizerCases.Encode().Select(c => c.Text.Length < 3000 ? c.Text : c.Text[..3000]));
        int compared = 0;
        foreach (string piece in KimiTokenizer.Split(shakespeare).Concat(RandomTexts(500)).Where(p => p.Length > 0 && !p.Contains('\ufffd', StringComparison.Ordinal)))
        {
            var own = new List<int>();
            Vocabulary vocabulary = s_vocabulary.Value;
            BytePairEncoder.Encode(vocabulary, Encoding.UTF8.GetBytes(piece), own);
            Assert.That(own, Is.EqualTo(oracle.EncodeToIds(piece)), piece);
            compared++;
        }

        Assert.That(compared, Is.GreaterThan(1000));
    }

    /// <summary>Those are merged in another way.</summary>
    [Test]
    public void Merges_of_long_pieces_equal_those_of_Microsoft_ML_Tokenizers()
    {
        using FileStream ranks = File.OpenRead(Repository.Fixture("tokenizer", "public", "tokenizer", "tiktoken.model"));
        var oracle = TiktokenTokenizer.Create(ranks, new WholeText(), normalizer: null);
        string[] words = [.. TokenizerCases.Encode().SelectMany(c => c.Text.Split()).Where(w => w.Length is > 0 and < 30 && !w.Contains('\ufffd', StringComparison.Ordinal)).Distinct()];
        var random = new Random(11);
        for (int round = 0; round < 300; round++)
        {
            int length = random.Next(65, 700);
            var piece = new StringBuilder();
            while (piece.Length < length)
            {
                // Words give long merges, single characters and repetitions many short ones.
                string next = random.Next(3) == 0 ? Alphabet[random.Next(Alphabet.Length)].ToString() : words[random.Next(words.Length)];
                piece.Insert(piece.Length, next, random.Next(10) == 0 ? random.Next(1, 40) : 1);
            }

            var own = new List<int>();
            BytePairEncoder.Encode(s_vocabulary.Value, Encoding.UTF8.GetBytes(piece.ToString()), own);
            Assert.That(own, Is.EqualTo(oracle.EncodeToIds(piece.ToString())), () => piece.ToString());
        }
    }

    [Test]
    public void Pieces_equal_those_of_the_pattern_in_Regex()
    {
        Regex pattern = KimiPattern();
        foreach (string text in RandomTexts(20_000))
        {
            Assert.That(KimiTokenizer.Split(text), Is.EqualTo(pattern.Matches(text).Select(m => m.Value)), () => System.Text.Json.JsonSerializer.Serialize(text));
        }
    }

    private static readonly Lazy<Vocabulary> s_vocabulary =
        new(() => Vocabulary.Parse(File.ReadAllBytes(Repository.Fixture("tokenizer", "public", "tokenizer", "tiktoken.model")), "tiktoken.model"));

    private static IEnumerable<string> RandomTexts(int count)
    {
        var random = new Random(7);
        for (int i = 0; i < count; i++)
        {
            yield return string.Concat(Enumerable.Range(0, random.Next(1, 24)).Select(_ => Alphabet[random.Next(Alphabet.Length)]));
        }
    }

    /// <summary>The published pattern without Han, which Regex does not know, and with White_Space and 'ſ spelled out.</summary>
    [GeneratedRegex(
        @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sSſ]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
        + @"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sSſ]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
        + @"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant)]
    private static partial Regex KimiPattern();

    private sealed class WholeText : PreTokenizer
    {
        public override IEnumerable<(int Offset, int Length)> PreTokenize(string text) => [(0, text.Length)];

        public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => [(0, text.Length)];
    }
}
