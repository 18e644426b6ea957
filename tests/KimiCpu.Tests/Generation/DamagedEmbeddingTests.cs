// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Generation;
using KimiCpu.Tests.Checkpoints;

namespace KimiCpu.Tests.Generation;

/// <summary>Attention takes some rows together, so a NaN spreads to positions before the one that brought it; the message names the one that did.</summary>
[TestFixture]
internal sealed class DamagedEmbeddingTests : CheckpointFixture
{
    private const int Token = 77;

    [Test]
    public void A_NaN_in_the_embedding_is_told_with_its_token_and_position([Values] bool exact, [Values(20, 600)] int length)
    {
        CopyCheckpoint("tiny-bf16");
        string shard;
        long place;
        using (Checkpoint checkpoint = Checkpoint.Open(Folder))
        {
            TensorEntry embedding = checkpoint.Get("model.embed_tokens.weight");
            shard = Path.Combine(Folder, checkpoint.Shards[embedding.Shard]);
            place = embedding.Offset + ((long)Token * checkpoint.Config.HiddenSize * sizeof(ushort));
        }

        using (FileStream file = File.OpenWrite(shard))
        {
            file.Position = place;
            file.Write([0xC0, 0x7F]);
        }

        int position = length - 7;
        int[] prompt = [.. Enumerable.Range(0, length).Select(i => i == position ? Token : 1 + (i % 50))];
        using KimiModel model = KimiModel.Open(Folder, new KimiModelOptions { Exact = exact, PrefillChunk = 1024, Device = KimiDevice.Cpu });
        Assert.That(
            () => model.Generate(prompt.AsMemory(), new GenerationOptions { MaxTokens = 1 }),
            Throws.TypeOf<KimiException>().With.Message.Contains($"the embedding of token {Token} at position {position}"));
    }
}
