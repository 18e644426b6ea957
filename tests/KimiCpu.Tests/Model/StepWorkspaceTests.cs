// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Tests.Planning;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Model;

[TestFixture]
internal sealed class StepWorkspaceTests
{
    private static readonly ModelShape s_kimi = WeightLoader.ShapeOf(Machines.Thinking.Config);

    /// <summary>A head has 128 + 64 of a query, the same rotated, absorbed to 576, attends to 512, and values of 128; experts are 8 of 2048.</summary>
    [Test]
    public void A_token_of_Kimi_K2_takes_what_its_rows_have() =>
        Assert.That(new StepWorkspace(s_kimi, 1).BytesPerToken, Is.EqualTo(4 * ((6 * 7168) + (64 * (192 + 128 + 576 + 512)) + (8 * (7168 + 4096)))));

    /// <summary>A long prompt's queries, 192, and gathered values, 130, of all rows of a head, what a segment of 512 tokens is expanded from and to, and 64 queries with their contexts and scores.</summary>
    [Test]
    public void Long_prompts_take_memory_of_every_thread()
    {
        const long Segment = (4 * 512 * (512 + 256 + 320)) + (2 * 512 * 512) + (4 * 64 * (192 + 128 + 64));
        Assert.That(Bytes(64, 4096) - Bytes(32, 4096), Is.EqualTo(32 * ((4096 * 4 * (192 + 130)) + Segment)));
        Assert.That(Bytes(64, 511), Is.EqualTo(Bytes(1, 511)), "shorter ones do not");
        Assert.That(new StepWorkspace(s_kimi, 64, Exact: true).Bytes(4096), Is.EqualTo(4096 * new StepWorkspace(s_kimi, 64).BytesPerToken), "nor exact ones");

        static long Bytes(int threads, int tokens) => new StepWorkspace(s_kimi, threads).Bytes(tokens);
    }

    [Test]
    public void A_step_is_as_large_as_fits([Values(1, 64, 512)] int threads, [Values(0, 1, 400, 450, 511, 512, 600, 4096)] int tokens)
    {
        var workspace = new StepWorkspace(s_kimi, threads);
        long bytes = workspace.Bytes(tokens);
        Assert.That(workspace.MostTokens(bytes), Is.EqualTo(tokens));
        Assert.That(workspace.MostTokens(bytes - 1), Is.EqualTo(Math.Max(0, tokens - 1)));
    }
}
