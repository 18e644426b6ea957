// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;
using KimiCpu.Tests.Generation;

namespace KimiCpu.Tests.Model;

/// <summary>Logits after a prefix that somebody else computed are those after one's own, to the bit.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SharedPrefixTests
{
    private static readonly string[] s_checkpoints = ["tiny-int4", "tiny-fp8", "tiny-bf16", "tiny-qproj"];
    private static readonly Backend[] s_backends = [Backend.CpuExact, Backend.CpuFast, Backend.CpuInt8];
    private static readonly Backend[] s_pageOwners = [Backend.CpuFast, Backend.Gpu];

    private SyntheticModel _smallest = null!;

    [OneTimeSetUp]
    public void WriteSmallest() => _smallest = new SyntheticModel();

    [OneTimeTearDown]
    public void DeleteSmallest() => _smallest.Dispose();

    [Test]
    public void A_taken_prefix_of_any_length_gives_the_same_logits(
        [ValueSource(nameof(s_checkpoints))] string checkpoint, [ValueSource(nameof(s_backends))] Backend backend, [Values(1, 2)] int threads)
    {
        int[] text = Long(checkpoint);
        Take(Repository.Checkpoint(checkpoint), backend, threads, text, [1, 63, 64, 100, 129, text.Length - 1]);
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_taken_prefix_of_any_length_gives_the_same_logits_on_a_GPU() => Take(_smallest.Folder, Backend.Gpu, 1, Text(70), [64, 69]);

    [Test]
    public void Several_at_once_over_one_prefix_give_the_same_logits_as_alone([ValueSource(nameof(s_backends))] Backend backend, [Values(1, 2)] int threads) =>
        Share(Repository.Checkpoint("tiny-int4"), backend, threads, Long("tiny-int4")[..130], prefix: 100);

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Several_at_once_over_one_prefix_give_the_same_logits_as_alone_on_a_GPU() => Share(_smallest.Folder, Backend.Gpu, 1, Text(80), prefix: 75);

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Two_that_compute_the_same_share_its_pages_from_then_on([ValueSource(nameof(s_pageOwners))] Backend backend)
    {
        using var model = new ModelUnderTest(_smallest.Folder, backend, threads: 1);
        int[] text = Text(150);
        KvSequence first = Begin(model.Cache, text);
        KvSequence second = Begin(model.Cache, text);
        float[] logits = new float[64 * model.Vocabulary];
        foreach (KvSequence sequence in new[] { first, second })
        {
            var batch = new RaggedBatch();
            batch.Add(text.AsSpan(0, 64), 0, sequence.Pages, LogitsWanted.All);
            model.Forward.Run(batch, logits);
            sequence.Advance(text.AsSpan(0, 64));
        }

        Assert.That(second.Pages.Span[0], Is.EqualTo(first.Pages.Span[0]));
        int free = model.Cache.FreePages;
        first.Dispose();
        Assert.That(model.Cache.FreePages, Is.EqualTo(free + KvCache.PagesFor(text.Length) - 1), "the second still holds the first page");
        second.Dispose();
        Assert.That(model.Cache.FreePages, Is.EqualTo(model.Cache.PageCapacity));
        Assert.That(model.Cache.ReusablePages, Is.EqualTo(1));
    }

    /// <summary>What a sequence has of a page that it then takes from another is not the beginning of its next page.</summary>
    [Test]
    public void A_page_that_is_taken_in_place_of_an_own_one_is_cached_once()
    {
        var cache = new KvCache(new ObservedHotPath(), 100, 1000);
        int[] text = Text(200);
        KvSequence first = Advanced(20);
        KvSequence second = Advanced(64);
        Assert.That(first.Adopt(text), Is.EqualTo(44));
        Assert.That(first.TryExtend(100));
        first.Advance(text.AsSpan(64, 100));
        cache.Release(first.Leave());
        cache.Release(second.Leave());
        Assert.That(Begin(cache, text).Length, Is.EqualTo(164));
        int[] other = [.. text[..64], .. text[..20], .. text[64..]];
        Assert.That(Begin(cache, other).Length, Is.EqualTo(64));

        KvSequence Advanced(int tokens)
        {
            KvSequence sequence = cache.CreateSequence(shares: true);
            Assert.That(sequence.TryExtend(tokens));
            sequence.Advance(text.AsSpan(0, tokens));
            return sequence;
        }
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_cache_that_is_full_gives_up_what_was_used_least_recently([ValueSource(nameof(s_pageOwners))] Backend backend)
    {
        using var model = new ModelUnderTest(_smallest.Folder, backend, threads: 1);
        using var fresh = new ModelUnderTest(_smallest.Folder, backend, threads: 1);
        var cache = new KvCache(model.HotPath, 4 * model.HotPath.BytesPerPage, 1000);
        int[][] texts = [.. Enumerable.Range(1, 3).Select(i => Enumerable.Repeat(i, 65).ToArray())];
        float[][] expected = [.. texts.Select(t => fresh.Logits(t))];
        Fill(0);
        Fill(1);
        Assert.That((cache.ReusablePages, cache.FreePages), Is.EqualTo((4, 4)));
        Fill(0);
        Fill(2);
        Assert.That(Cached(0), Is.EqualTo(64), "used after the second text");
        Assert.That(Cached(1), Is.Zero);
        Assert.That(Cached(2), Is.EqualTo(64));

        KvSequence all = cache.CreateSequence(shares: true);
        Assert.That(all.TryExtend(4 * KvPage.Tokens), "all of the budget is there for who needs it");
        Assert.That(cache.FreePages, Is.Zero);
        all.Dispose();
        Assert.That((cache.ReusablePages, cache.FreePages), Is.EqualTo((0, 4)));

        void Fill(int text) => Compute(model, cache, texts[text], null, expected[text], 65);

        int Cached(int text)
        {
            KvSequence sequence = Begin(cache, texts[text]);
            int length = sequence.Length;
            sequence.Dispose();
            return length;
        }
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Pages_survive_being_read_and_written([Values(Backend.Reference, Backend.CpuExact, Backend.CpuFast, Backend.Gpu)] Backend backend)
    {
        using var model = new ModelUnderTest(_smallest.Folder, backend, threads: 1);
        using var receiver = new ModelUnderTest(_smallest.Folder, backend, threads: 1);
        int[] text = Text(100);
        float[] expected = model.Logits(text);
        KvSequence first = Begin(model.Cache, text);
        var batch = new RaggedBatch();
        batch.Add(text, 0, first.Pages, LogitsWanted.None);
        model.Forward.Run(batch, []);
        first.Advance(text);
        KvPrefix prefix = first.Leave();
        Assert.That(prefix.Tokens(), Is.EqualTo(text));

        KvCache other = receiver.Cache;
        using KvSequence spacer = other.CreateSequence();
        Assert.That(spacer.TryExtend(100), "so that the copies lie elsewhere");
        KvSequence second = other.CreateSequence(shares: true);
        Assert.That(second.TryExtend(99));
        for (int page = 0; page < 2; page++)
        {
            int tokens = page == 0 ? 64 : 35;
            var bytes = new byte[tokens * model.Cache.BytesPerToken];
            model.Cache.ReadPage(prefix.Pages()[page], tokens, bytes);
            second.Write(page, tokens, bytes);
        }

        second.Advance(text.AsSpan(0, 99));
        Assert.That(() => second.Write(1, 35, []), Throws.TypeOf<ArgumentOutOfRangeException>(), "tokens that are in the cache stay as they are");
        other.Release(second.Leave());
        Compute(receiver, other, text, taken: 99, expected, 1);
        model.Cache.Release(prefix);
    }

    private static void Take(string folder, Backend backend, int threads, int[] text, int[] lengths)
    {
        using var model = new ModelUnderTest(folder, backend, threads);
        using var alone = new ModelUnderTest(folder, backend, threads);
        float[] expected = alone.Logits(text);
        foreach (int length in lengths)
        {
            // A fresh cache each time, so that nothing but this prefix is there.
            KvCache cache = model.NewCache();
            Compute(model, cache, text[..length], taken: 0, expected, 17);
            Compute(model, cache, text, taken: Math.Min(length, text.Length - 1), expected, 23);
            Compute(model, cache, text, taken: text.Length - 1, expected, 23);

            // One that goes another way after a while.
            int[] other = [.. text[..length], (text[length] + 1) % model.Vocabulary, .. text.Reverse().Take(text.Length / 3)];
            Compute(model, cache, other, taken: length, alone.Logits(other), 23);
            Compute(model, cache, text, taken: text.Length - 1, expected, 1);
            Assert.That(cache.FreePages, Is.EqualTo(cache.PageCapacity));
        }
    }

    private static void Share(string folder, Backend backend, int threads, int[] text, int prefix)
    {
        using var model = new ModelUnderTest(folder, backend, threads);
        using var fresh = new ModelUnderTest(folder, backend, threads);
        KvCache cache = model.Cache;
        Compute(model, cache, text[..prefix], taken: 0, fresh.Logits(text.AsSpan(0, prefix)), prefix);
        int[][] texts = [text, [.. text[..(prefix - 10)], 7, 8, 9], [.. text[..64], 3], [.. text[..prefix], 1, 2], [4, 5, 6]];
        float[][] alone = [.. texts.Select(t => fresh.Logits(t)[^model.Vocabulary..])];
        KvSequence[] sequences = [.. texts.Select(t => Begin(cache, t))];
        Assert.That(sequences.Select(s => s.Length), Is.EqualTo(new[] { prefix, prefix - 10, 64, prefix, 0 }));
        var batch = new RaggedBatch();
        for (int i = 0; i < texts.Length; i++)
        {
            batch.Add(texts[i].AsSpan(sequences[i].Length), sequences[i].Length, sequences[i].Pages, LogitsWanted.Last);
        }

        var logits = new float[texts.Length * model.Vocabulary];
        model.Forward.Run(batch, logits);
        for (int i = 0; i < texts.Length; i++)
        {
            Assert.That(logits.AsSpan(i * model.Vocabulary, model.Vocabulary).ToArray(), Is.EqualTo(alone[i]), $"text {i}");
            sequences[i].Advance(texts[i].AsSpan(sequences[i].Length));
            cache.Release(sequences[i].Leave());
        }

        Assert.That(cache.FreePages, Is.EqualTo(cache.PageCapacity));
    }

    private static int[] Text(int tokens) => [.. Enumerable.Range(0, tokens).Select(i => i * 31 % SyntheticModel.Vocabulary)];

    private static int[] Long(string checkpoint) => Golden.Load(checkpoint).Single(g => g.Name == "long").Tokens;

    private static KvSequence Begin(KvCache cache, int[] text)
    {
        KvSequence sequence = cache.CreateSequence(shares: true);
        sequence.Adopt(text);
        Assert.That(sequence.TryExtend(text.Length - sequence.Length));
        sequence.Adopt(text);
        return sequence;
    }

    /// <summary>Computes what is not taken, compares its logits, and leaves it in the cache.</summary>
    private static void Compute(ModelUnderTest model, KvCache cache, int[] text, int? taken, float[] expected, int chunk)
    {
        KvSequence sequence = Begin(cache, text);
        if (taken is not null)
        {
            Assert.That(sequence.Length, Is.EqualTo(taken));
        }

        while (sequence.Length < text.Length)
        {
            int rows = Math.Min(chunk, text.Length - sequence.Length);
            var batch = new RaggedBatch();
            batch.Add(text.AsSpan(sequence.Length, rows), sequence.Length, sequence.Pages, LogitsWanted.All);
            var logits = new float[rows * model.Vocabulary];
            model.Forward.Run(batch, logits);
            Assert.That(logits.AsSpan().SequenceEqual(expected.AsSpan(sequence.Length * model.Vocabulary, logits.Length)), $"tokens from {sequence.Length} on");
            sequence.Advance(text.AsSpan(sequence.Length, rows));
        }

        cache.Release(sequence.Leave());
    }
}
