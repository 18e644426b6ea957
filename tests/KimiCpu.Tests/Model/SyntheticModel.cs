// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Model;

/// <summary>A checkpoint of any sizes with random weights, in a folder of its own until it is disposed.</summary>
internal sealed class SyntheticModel : IDisposable
{
    /// <summary>The least that has all parts, for what interprets kernels: two MoE layers of INT4 experts behind a dense one.</summary>
    public const string Smallest = "nano,hidden=32,layers=3,intermediate=32,experts=8,topk=2,moe=32,heads=1,qlora=16,kvlora=16,nope=4,rope=4,v=4,vocab=512";

    /// <summary>Of the smallest: as many token ids as a tokenizer of single bytes has.</summary>
    public const int Vocabulary = 512;

    private readonly string _parent = Directory.CreateTempSubdirectory("kimicpu").FullName;

    /// <param name="shape">In the words of <c>kimi bench --shape</c>.</param>
    /// <param name="change">Changes the configuration.</param>
    public SyntheticModel(string shape = Smallest, Action<JsonNode>? change = null)
    {
        var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, false);
        Folder = SyntheticCheckpoint.Prepare(BenchShape.Parse(shape), _parent, streams, CancellationToken.None);
        if (change is not null)
        {
            string config = Path.Combine(Folder, "config.json");
            JsonNode json = JsonNode.Parse(File.ReadAllText(config))!;
            change(json);
            File.WriteAllText(config, json.ToJsonString());
        }
    }

    /// <summary>Of the checkpoint.</summary>
    public string Folder { get; }

    public void Dispose() => Directory.Delete(_parent, recursive: true);
}
