// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text.Json;

namespace KimiCpu.Tests.Model;

/// <summary>What the independent reference computed for one prompt of a tiny checkpoint (Fixtures/goldens).</summary>
internal sealed class Golden
{
    public static readonly string[] Checkpoints = ["tiny-bf16", "tiny-fp8", "tiny-int4", "tiny-k25", "tiny-qproj", "tiny-steady"];

    public required string Name { get; init; }

    public required int[] Tokens { get; init; }

    public required int[] LogitPositions { get; init; }

    /// <summary>(logit positions, vocabulary).</summary>
    public required float[] Logits { get; init; }

    public required int[] Greedy { get; init; }

    /// <summary>(embedding, layers…, final norm; tokens; hidden); null for the longer prompts.</summary>
    public required float[]? Hidden { get; init; }

    /// <summary>Per MoE layer: layer, (tokens, chosen) ids and weights; empty for the longer prompts.</summary>
    public required (int Layer, int[][] Experts, double[][] Weights)[] Routing { get; init; }

    public static IEnumerable<Golden> Load(string checkpoint)
    {
        string folder = Repository.Fixture("goldens", "public", checkpoint);
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        foreach (JsonElement prompt in document.RootElement.GetProperty("prompts").EnumerateArray())
        {
            yield return new Golden
            {
                Name = prompt.GetProperty("name").GetString()!,
                Tokens = Ints(prompt.GetProperty("tokens")),
                LogitPositions = Ints(prompt.GetProperty("logits_positions")),
                Logits = Floats(folder, prompt.GetProperty("logits")),
                Greedy = Ints(prompt.GetProperty("greedy")),
                Hidden = prompt.TryGetProperty("hidden", out JsonElement hidden) ? Floats(folder, hidden) : null,
                Routing = prompt.TryGetProperty("routing", out JsonElement routing) ? [.. routing.EnumerateArray().Select(ReadRouting)] : [],
            };
        }
    }

    private static (int Layer, int[][] Experts, double[][] Weights) ReadRouting(JsonElement layer) => (
        layer.GetProperty("layer").GetInt32(),
        [.. layer.GetProperty("ids").EnumerateArray().Select(Ints)],
        [.. layer.GetProperty("weights").EnumerateArray().Select(row => row.EnumerateArray().Select(w => w.GetDouble()).ToArray())]);

    private static int[] Ints(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetInt32())];

    private static float[] Floats(string folder, JsonElement description)
    {
        byte[] bytes = File.ReadAllBytes(Path.Combine(folder, description.GetProperty("file").GetString()!));
        int count = Ints(description.GetProperty("shape")).Aggregate(1, (a, b) => a * b);
        Assert.That(bytes, Has.Length.EqualTo(4 * count));
        return MemoryMarshal.Cast<byte, float>(bytes).ToArray();
    }
}
