// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Tests.Model;

/// <summary>The count of bytes that a pass reads, against figures worked out by hand from the checkpoints' sizes.</summary>
[TestFixture]
internal sealed class BytesReadTests
{
    // kimi-nano, one token: attention 6 x (200,704 BF16 + 192 F32), norms 13 x 256 F32, dense MLP 3 x 768 x 256 BF16; of each
    // of 5 layers the router 24 x 256 BF16 + 24 F32, the shared expert 3 x 128 x 256 BF16 and 4 experts of 55,296 bytes; the
    // head 2,304 x 256 BF16 and a row of the embedding. A token in the cache: 6 x 80 BF16.
    private const long NanoToken = 6_937_056;
    private const long NanoCached = 960;

    /// <summary>8-bit copies are padded to 512 columns, so that those of kimi-nano's narrow weights are larger than the weights.</summary>
    private const long NanoCopies = 190_464;

    [TestCase("tiny-k25", Backend.Reference, 2_613_440, 1_280)]
    [TestCase("tiny-k25", Backend.CpuExact, 2_613_440, 1_280)]
    [TestCase("tiny-k25", Backend.CpuFast, 2_613_440, 640)]
    [TestCase("kimi-nano", Backend.CpuExact, NanoToken, 2 * NanoCached)]
    [TestCase("kimi-nano", Backend.CpuFast, NanoToken, NanoCached)]
    [TestCase("kimi-nano", Backend.CpuInt8, NanoToken + NanoCopies, NanoCached)]
    public void Token_reads_all_that_it_needs_once(string checkpoint, Backend backend, long token, long cached)
    {
        using var model = new ModelUnderTest(checkpoint == "kimi-nano" ? Repository.NanoModel : Repository.Checkpoint(checkpoint), backend);
        using KvSequence sequence = model.Cache.CreateSequence();
        var logits = new float[model.Vocabulary];
        for (int context = 1; context <= 3; context++)
        {
            model.Step(sequence, [context], logits);
            Assert.That(model.Forward.BytesRead, Is.EqualTo(token + (context * cached)), $"{context} tokens in the cache");
        }
    }

    /// <summary>The routers of 4 layers once more: 24 x 256 BF16 and 24 F32 each.</summary>
    [Test]
    public void Looking_ahead_reads_the_routers_of_all_layers_but_the_first_again()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast, lookAhead: true);
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [1], new float[model.Vocabulary]);
        Assert.That(model.Forward.BytesRead, Is.EqualTo(NanoToken + NanoCached + (4 * ((24 * 256 * 2) + (24 * 4)))));
    }

    /// <summary>A row of the embedding and the chosen experts of uneven ids, 55,296 bytes each; all others are on the GPU.</summary>
    [Test]
    public unsafe void What_a_GPU_holds_is_not_read_from_memory()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.Gpu, threads: 2);
        int left = 0;
        model.Forward.Routed = (_, rows) => left += new ReadOnlySpan<int>(rows.Experts, 4).ToArray().Count(e => e % 2 == 1);
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [1], new float[model.Vocabulary]);
        Assert.That(left, Is.InRange(1, 5 * 4));
        Assert.That(model.Forward.BytesRead, Is.EqualTo((256 * 2) + (left * 55_296L)));
    }

    [Test]
    public void Batch_reads_a_weight_once_for_all_its_rows()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast);
        using KvSequence first = model.Cache.CreateSequence();
        using KvSequence second = model.Cache.CreateSequence();
        Assert.That(first.TryExtend(5) && second.TryExtend(7));
        var batch = new RaggedBatch();
        batch.Add([1, 2, 3, 4, 5], 0, first.Pages, LogitsWanted.Last);
        batch.Add([1, 2, 3, 4, 5, 6, 7], 0, second.Pages, LogitsWanted.Last);
        int experts = 0;
        model.Forward.Routed = (_, rows) => experts += Chosen(rows).Distinct().Count();
        model.Forward.Run(batch, new float[2 * model.Vocabulary]);
        const long ExpertBytes = 55_296;
        const long EmbeddingRow = 512;
        Assert.That(experts, Is.InRange(5 * 4, 5 * 24));
        Assert.That(model.Forward.BytesRead, Is.EqualTo(NanoToken + ((experts - (5 * 4)) * ExpertBytes) + (11 * EmbeddingRow) + (12 * NanoCached)));
    }

    [Test]
    public void Pass_without_logits_leaves_the_head_alone()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast);
        using KvSequence sequence = model.Cache.CreateSequence();
        Assert.That(sequence.TryExtend(1));
        var batch = new RaggedBatch();
        batch.Add([1], 0, sequence.Pages, LogitsWanted.None);
        model.Forward.Run(batch, []);
        Assert.That(model.Forward.BytesRead, Is.EqualTo(NanoToken + NanoCached - (2_304 * 256 * 2)));
    }

    private static unsafe int[] Chosen(RoutedRows rows) => new ReadOnlySpan<int>(rows.Experts, 4 * rows.RowCount).ToArray();
}
