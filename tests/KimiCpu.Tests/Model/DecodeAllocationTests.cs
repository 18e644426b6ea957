// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Tests.Model;

[TestFixture]
internal sealed class DecodeAllocationTests
{
    /// <summary>With one thread everything runs on the caller, so its count is the whole.</summary>
    [Test]
    public void A_decoded_token_allocates_nothing([Values(Backend.CpuFast, Backend.CpuInt8)] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-k25"), backend, threads: 1);
        using KvSequence sequence = model.Cache.CreateSequence();
        var logits = new float[model.Vocabulary];
        for (int i = 0; i < 3; i++)
        {
            Step();
        }

        long allocated = 0;
        for (int i = 0; i < 20; i++)
        {
            allocated += Step();
        }

        Assert.That(allocated, Is.Zero);

        long Step()
        {
            Assert.That(sequence.TryExtend(1));
            var batch = new RaggedBatch();
            batch.Add([7], sequence.Length, sequence.Pages, LogitsWanted.Last);
            long before = GC.GetAllocatedBytesForCurrentThread();
            model.Forward.Run(batch, logits);
            long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
            sequence.Advance(1);
            return bytes;
        }
    }
}
