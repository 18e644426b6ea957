// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Generation;

namespace KimiCpu.Benchmarks.Sessions;

/// <summary>Time to the first token of a turn of 30 new tokens in a conversation with the embedded model, with and without the cached prefix.</summary>
public class FirstTokenBenchmark
{
    private static readonly GenerationOptions s_oneToken = new() { Temperature = 0, MaxTokens = 1 };

    private readonly Random _random = new(1);
    private KimiModel _model = null!;
    private KimiSession _session = null!;
    private int[] _conversation = [];

    /// <summary>Tokens of the conversation so far.</summary>
    [Params(500, 4000)]
    public int Conversation { get; set; }

    /// <summary>Whether its cache is kept.</summary>
    [Params(false, true)]
    public bool Cached { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _model = KimiModel.OpenEmbedded(new KimiModelOptions { PrefixCaching = Cached });
        _session = _model.CreateSession();
        _conversation = Tokens(Conversation);
        _session.Generate(_conversation.AsMemory(), s_oneToken);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _session.Dispose();
        _model.Dispose();
    }

    /// <summary>New tokens each time, as each turn has.</summary>
    [Benchmark]
    public int FirstToken() => _model.Generate(new[] { _conversation, Tokens(30) }.SelectMany(t => t).ToArray().AsMemory(), s_oneToken).Tokens[0];

    private int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(_ => _random.Next(_model.Info.VocabularySize))];
}
