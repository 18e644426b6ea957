// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;

namespace KimiCpu.Tests.Model;

/// <summary>A head in INT4, as compressed-tensors packs whatever its configuration does not leave out.</summary>
[TestFixture]
internal sealed class PackedHeadTests
{
    private const int Vocabulary = 67;
    private const int Hidden = 96;
    private const int Group = 32;

    [TestCase(Backend.Reference, 0)]
    [TestCase(Backend.CpuExact, 2e-5)]
    [TestCase(Backend.CpuFast, 1)]
    public void Its_logits_are_those_of_the_values_that_it_stands_for(Backend backend, double maxDifference)
    {
        using var checkpoint = new SyntheticModel($"nano,hidden={Hidden},layers=2,experts=4,topk=4,moe=32,heads=2,vocab={Vocabulary}");
        var random = new Random(8);
        int[] values = [.. Enumerable.Range(0, Vocabulary * Hidden).Select(_ => random.Next(-8, 8))];

        // Powers of two, so that BF16 holds every product exactly.
        float[] scales = [.. Enumerable.Range(0, values.Length / Group).Select(_ => MathF.ScaleB(1, random.Next(-7, -3)))];
        ReplaceHead(
            checkpoint.Folder,
            Tensor("lm_head.weight", ElementType.BFloat16, [Vocabulary, Hidden], [.. values.Select((v, i) => BFloat16.FromSingle(v * scales[i / Group]))]));
        float[] expected = Logits(checkpoint.Folder, Backend.Reference);
        ReplaceHead(
            checkpoint.Folder,
            Tensor<uint>("lm_head.weight_packed", ElementType.Int32, [Vocabulary, Hidden / 8], [.. values.Chunk(8).Select(eight => eight.Select((v, i) => (uint)(v + 8) << (4 * i)).Aggregate((a, b) => a | b))]),
            Tensor("lm_head.weight_scale", ElementType.BFloat16, [Vocabulary, Hidden / Group], [.. scales.Select(BFloat16.FromSingle)]),
            Tensor("lm_head.weight_shape", ElementType.Int32, [2], [Vocabulary, Hidden]));
        Agreement agreement = Agreement.Of(expected, Logits(checkpoint.Folder, backend), Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(maxDifference));
        Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999), "a router can choose no other experts");
        Assert.That(CheckpointVerifier.Verify(checkpoint.Folder).Problems, Is.Empty);
    }

    private static float[] Logits(string folder, Backend backend)
    {
        using var model = new ModelUnderTest(folder, backend, threads: 2);
        return model.Logits([.. Enumerable.Range(0, 40).Select(i => i * 13 % Vocabulary)]);
    }

    /// <summary>In the shard where it stands.</summary>
    private static void ReplaceHead(string folder, params TensorToWrite[] head)
    {
        string shard;
        List<TensorToWrite> tensors = [];
        using (Checkpoint checkpoint = Checkpoint.Open(folder))
        {
            int number = checkpoint.Tensors.First(t => IsHead(t.Key)).Value.Shard;
            shard = checkpoint.Shards[number];
            foreach ((string name, TensorEntry entry) in checkpoint.Tensors.Where(t => t.Value.Shard == number && !IsHead(t.Key)))
            {
                tensors.Add(Tensor(name, entry.Type, [.. entry.Shape], checkpoint.Files.Read(shard, entry.Offset, (int)entry.Length)));
            }
        }

        SafetensorsWriter.Write(Path.Combine(folder, shard), [.. tensors, .. head]);
        string index = Path.Combine(folder, ShardIndex.File);
        JsonNode json = JsonNode.Parse(File.ReadAllText(index))!;
        JsonObject map = json["weight_map"]!.AsObject();
        foreach (string name in map.Select(t => t.Key).Where(IsHead).ToArray())
        {
            map.Remove(name);
        }

        Array.ForEach(head, t => map[t.Name] = shard);
        File.WriteAllText(index, json.ToJsonString());
    }

    private static bool IsHead(string tensor) => tensor.StartsWith("lm_head.", StringComparison.Ordinal);

    private static TensorToWrite Tensor<T>(string name, ElementType type, long[] shape, T[] values)
        where T : unmanaged => new(name, type, shape, (part, offset) => MemoryMarshal.AsBytes(values.AsSpan()).Slice((int)offset, part.Length).CopyTo(part));
}
