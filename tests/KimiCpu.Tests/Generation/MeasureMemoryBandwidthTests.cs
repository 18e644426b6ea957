// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Tests.Cpu.Memory;

namespace KimiCpu.Tests.Generation;

/// <summary>The real measurement through the public face.</summary>
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
        foreach (double? bandwidth in found)
        {
            Assert.That(bandwidth, RealBandwidth.IsMeasured);
        }

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
            Assert.That(asked.GetAwaiter().GetResult(), RealBandwidth.IsMeasured, "it may have been quicker");
        }
        catch (OperationCanceledException e)
        {
            Assert.That(e.CancellationToken, Is.EqualTo(source.Token));
        }

        Assert.That(model.Generate("Who are you?", s_long with { MaxTokens = 5 }).Tokens, Has.Count.EqualTo(5));
        Assert.That(model.MeasureMemoryBandwidth(), RealBandwidth.IsMeasured);
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
            Assert.That(await asked, RealBandwidth.IsMeasured, "it may have been quicker");
        }
        catch (ObjectDisposedException)
        {
        }

        Assert.That(() => model.MeasureMemoryBandwidth(), Throws.TypeOf<ObjectDisposedException>());
    }
}
