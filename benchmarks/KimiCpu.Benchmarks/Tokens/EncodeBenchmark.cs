// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Tokens;

namespace KimiCpu.Benchmarks.Tokens;

/// <summary>Encoding a megabyte of text, ordinary and pathological, with the embedded model's vocabulary.</summary>
[MemoryDiagnoser]
public class EncodeBenchmark
{
    private readonly KimiTokenizer _tokenizer = KimiTokenizer.Open(KimiModel.EmbeddedFiles);
    private string _text = "";

    /// <summary>What is encoded.</summary>
    [Params("English", "one letter", "blanks", "Han")]
    public string Text { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        string unit = Text switch
        {
            "English" => "The quick brown fox jumps over the lazy dog, and it's 1234 times happier than before.\n",
            "one letter" => "x",
            "blanks" => " ",
            _ => "漢",
        };
        _text = string.Concat(Enumerable.Repeat(unit, 1_000_000 / unit.Length));
    }

    [Benchmark]
    public int Encode() => _tokenizer.Encode(_text).Length;
}
