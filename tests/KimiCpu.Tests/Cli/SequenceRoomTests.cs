// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class SequenceRoomTests
{
    /// <summary>A pass would read behind the end of the sequence's pages.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_page_that_there_is_no_memory_for_is_told_before_a_pass_wants_it()
    {
        using var opened = new OpenedModel(null, new CpuBackendOptions { Threads = 1 });
        using KvSequence sequence = new KvCache(opened.HotPath, byteBudget: 1, contextLength: 4 * KvPage.Tokens).CreateSequence();
        sequence.Extend(KvPage.Tokens);
        sequence.Advance(KvPage.Tokens);
        Assert.That(() => sequence.Extend(1), Throws.TypeOf<KimiException>().With.Message.Contains($"no memory to cache 1 more tokens beside the {KvPage.Tokens} "));
        Assert.That(() => sequence.Extend(4 * KvPage.Tokens), Throws.TypeOf<ContextLengthException>());
    }
}
