// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class RateLineTests
{
    [Test]
    public void Rates_show_the_memory_where_its_share_is_known()
    {
        var result = new GenerationResult
        {
            Text = "",
            Reasoning = null,
            Tokens = [],
            LogProbabilities = [],
            FinishReason = FinishReason.Stop,
            Usage = new GenerationUsage(20, 41, 0),
            Timings = new GenerationTimings(default, default, default)
            {
                PrefillTokensPerSecond = 312.4,
                DecodeTokensPerSecond = 0.449,
                DecodeBytesPerSecond = 12.31e9,
                MemoryBandwidthShare = 0.874,
            },
        };
        Assert.That(RateLine.Of(result), Is.EqualTo("(41 tokens, 0.4 tokens/s, 12.3 GB/s, 0.87 of memory; prompt 20 at 312/s)"));
        Assert.That(RateLine.WhyNoShare(result, 100e9), Is.Null);
        GenerationTimings unknown = result.Timings with { MemoryBandwidthShare = null, DecodeTokensPerSecond = 1512 };
        Assert.That(
            RateLine.Of(result with { Timings = unknown, Usage = new GenerationUsage(20, 41, 0, 15) }),
            Is.EqualTo("(41 tokens, 1512 tokens/s; prompt 20, 15 cached, the rest at 312/s)"));
        Assert.That(RateLine.WhyNoShare(result with { Timings = unknown }, 100e9), Does.Contain("caches"));
        Assert.That(RateLine.WhyNoShare(result with { Timings = unknown }, bandwidth: null), Does.Contain("too little free memory"));
        Assert.That(RateLine.WhyNoShare(result with { Timings = unknown with { DecodeBytesPerSecond = 0 } }, 100e9), Is.Null);
    }
}
