// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Tests.Cuda;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>What the engine, its cache and sessions ask of a device, on each of them: results are the same to the bit whatever happened before.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category(GpuUnderTest.Category)]
internal sealed class DeviceTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 4, LogProbabilities = true, IgnoreEndOfText = true };

    [Test]
    public void Calls_at_once_get_what_they_get_alone([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        using KimiModel model = small.Open(new KimiModelOptions { PrefixCaching = false });
        int[][] prompts = [Text(20, 1), Text(3, 2), Text(33, 3), Text(1, 4)];
        GenerationResult[] alone = [.. prompts.Select(p => model.Generate(p.AsMemory(), s_options))];
        Task<GenerationResult>[] calls = [.. prompts.Select(p => Task.Run(() => model.Generate(p.AsMemory(), s_options)))];
        Task.WaitAll(calls);
        for (int i = 0; i < prompts.Length; i++)
        {
            AssertSame(calls[i].Result, alone[i]);
        }

        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    [Test]
    public void What_is_cached_is_not_computed_again([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        using KimiModel model = small.Open();
        int[] text = Text(70, 1);
        GenerationResult first = model.Generate(text.AsMemory(), s_options);
        GenerationResult second = model.Generate(text.AsMemory(), s_options);
        AssertSame(second, first);
        Assert.That((first.Usage.CachedTokens, second.Usage.CachedTokens), Is.EqualTo((0, 69)));

        // One that goes another way within the second page takes a copy of it.
        int[] other = [.. text[..66], 5, 6];
        using KimiModel without = small.Open(new KimiModelOptions { PrefixCaching = false });
        GenerationResult branched = model.Generate(other.AsMemory(), s_options);
        Assert.That(branched.Usage.CachedTokens, Is.EqualTo(66));
        AssertSame(branched, without.Generate(other.AsMemory(), s_options));
        AssertSame(model.Generate(text.AsMemory(), s_options), first);
    }

    [Test]
    public void A_budget_that_is_full_makes_room([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        using KimiModel without = small.Open(new KimiModelOptions { PrefixCaching = false });
        using KimiModel model = small.Open(new KimiModelOptions { KvCacheBytes = 3L * 64 * without.Info.CacheBytesPerToken });
        for (int i = 0; i < 3; i++)
        {
            int[] prompt = Text(65 + i, i + 1);
            AssertSame(model.Generate(prompt.AsMemory(), s_options), without.Generate(prompt.AsMemory(), s_options));
            Assert.That((model.CachePages.Free, model.CachePages.Capacity), Is.EqualTo((3, 3)));
        }
    }

    [Test]
    public void A_branch_takes_no_page_until_the_two_part([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        using KimiModel model = small.Open();
        using KimiSession session = model.CreateSession();
        int[] text = Text(70, 1);
        session.Generate(text.AsMemory(), s_options with { MaxTokens = 1 });
        int held = model.CachePages.Capacity - model.CachePages.Free;
        using KimiSession branch = session.Branch();
        Assert.That(model.CachePages.Capacity - model.CachePages.Free, Is.EqualTo(held));
        GenerationResult result = branch.Generate(new[] { text, [9] }.SelectMany(t => t).ToArray().AsMemory(), s_options with { MaxTokens = 1 });
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(70));
        Assert.That(() => model.CachePages.Capacity - model.CachePages.Free, Is.EqualTo(held + 1).After(60_000, 5), "one page for the tokens that differ");
    }

    [Test]
    public void A_loaded_session_goes_on_as_the_saved_one_would([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        string path = Path.GetTempFileName();
        try
        {
            int[] text = Text(70, 1);
            int[] longer = [.. text, 1, 2, 3];
            GenerationResult expected;
            using (KimiModel model = small.Open())
            using (KimiSession session = model.CreateSession())
            {
                session.Generate(text.AsMemory(), s_options);
                session.Save(path);
                expected = model.Generate(longer.AsMemory(), s_options);
            }

            using KimiModel next = small.Open();
            using KimiSession loaded = next.LoadSession(path);
            GenerationResult result = loaded.Generate(longer.AsMemory(), s_options);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(text.Length));
            AssertSame(result, expected);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Test]
    public async Task A_call_that_is_cancelled_leaves_nothing_behind([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        using KimiModel model = small.Open();
        GenerationResult expected = model.Generate(Text(5, 1).AsMemory(), s_options);
        using var source = new CancellationTokenSource();
        int seen = 0;
        try
        {
            await foreach (GenerationUpdate update in model.GenerateAsync(Text(20, 2).AsMemory(), s_options with { MaxTokens = 2000 }, source.Token))
            {
                if (++seen == 3)
                {
                    await source.CancelAsync();
                }
            }

            Assert.Fail("the call went on");
        }
        catch (OperationCanceledException)
        {
        }

        AssertSame(model.Generate(Text(5, 1).AsMemory(), s_options), expected);
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    [Test]
    public void Answers_are_the_same_whatever_the_memory_for_experts([Values] ModelDevice device)
    {
        using var small = new SmallModel(device);
        using KimiModel mapped = small.Open();
        using KimiModel tiered = small.Open(new KimiModelOptions { ExpertMemory = 100_000 });
        Assert.That(tiered.Placement, Does.Contain("read from the drive"));
        AssertSame(tiered.Generate(Text(20, 1).AsMemory(), s_options), mapped.Generate(Text(20, 1).AsMemory(), s_options));
    }

    private static int[] Text(int tokens, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, tokens).Select(_ => random.Next(SyntheticModel.Vocabulary))];
    }

    private static void AssertSame(GenerationResult actual, GenerationResult expected)
    {
        Assert.That(actual.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(actual.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
    }
}
