// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>The real measurement through the public face. On a machine with very little memory it gives null.</summary>
[TestFixture]
internal sealed class MeasureMemoryBandwidthTests
{
    private static readonly GenerationOptions s_long = new() { Temperature = 0, IgnoreEndOfText = true, MaxTokens = 300 };

    [Test]
    public async Task Several_threads_during_a_call_get_a_bandwidth_and_the_call_its_answer()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        IReadOnlyList<int> alone = model.Generate("Tell me a story.", s_long).Tokens;
        Task<GenerationResult> call = Task.Run(() => model.Generate("Tell me a story.", s_long));
        double?[] found = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => model.MeasureMemoryBandwidth())));
        GenerationResult result = await call;
        Assert.That(found, Is.All.Null.Or.All.Positive);
        Assert.That(result.Tokens, Is.EqualTo(alone));
        Assert.That(result.Timings.MemoryBandwidthShare, Is.Null, "kimi-nano fits the caches");
    }

    [Test]
    public void Cancellation_ends_the_wait_and_leaves_the_model_sound()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        Assert.That(() => model.MeasureMemoryBandwidth(new CancellationToken(canceled: true)), Throws.InstanceOf<OperationCanceledException>());

        using var source = new CancellationTokenSource();
        Task<double?> asked = Task.Run(() => model.MeasureMemoryBandwidth(source.Token));
        source.CancelAfter(20);
        try
        {
            Assert.That(asked.GetAwaiter().GetResult(), Is.Null.Or.Positive, "it may have been quicker");
        }
        catch (OperationCanceledException e)
        {
            Assert.That(e.CancellationToken, Is.EqualTo(source.Token));
        }

        Assert.That(model.Generate("Who are you?", s_long with { MaxTokens = 5 }).Tokens, Has.Count.EqualTo(5));
        Assert.That(model.MeasureMemoryBandwidth(), Is.Null.Or.Positive);
    }

    [Test]
    public async Task Disposal_during_a_measurement_is_sound([Values(0, 5, 50)] int milliseconds)
    {
        KimiModel model = KimiModel.OpenEmbedded();
        Task<double?> asked = Task.Run(() => model.MeasureMemoryBandwidth());
        await Task.Delay(milliseconds);
        model.Dispose();
        try
        {
            Assert.That(await asked, Is.Null.Or.Positive, "it may have been quicker");
        }
        catch (ObjectDisposedException)
        {
        }

        Assert.That(() => model.MeasureMemoryBandwidth(), Throws.TypeOf<ObjectDisposedException>());
    }
}
