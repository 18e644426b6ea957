// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cli.Routing;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;

namespace KimiCpu.Tests.Cli.Routing;

[TestFixture]
internal sealed class TraceRecorderTests
{
    /// <summary>A pass over a long text may take minutes, and who is told to end is not waited for so long.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_pass_is_left_between_two_layers()
    {
        using var cancel = new CancellationTokenSource();
        CancellingExperts? experts = null;
        using var opened = new OpenedModel(null, new CpuBackendOptions { Threads = 1 }, route: (_, inner) => experts = new CancellingExperts(inner, cancel, after: 2));
        var recorder = new TraceRecorder(opened.Forward, TraceRecorder.HeaderOf(opened.Checkpoint, opened.Weights, "a test"));
        using KvSequence sequence = new KvCache(opened.HotPath, long.MaxValue, 100).CreateSequence();
        sequence.TryExtend(3);
        var batch = new RaggedBatch();
        batch.Add([1, 2, 3], sequence.Length, sequence.Pages, LogitsWanted.None);
        Assert.That(() => recorder.Run(batch, [], cancel.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(experts!.Layers, Is.EqualTo(2));
        Assert.That(opened.Forward.Routed, Is.Null);
    }

    private sealed class CancellingExperts(IRoutedExperts inner, CancellationTokenSource cancel, int after) : IRoutedExperts
    {
        public int Layers { get; private set; }

        public long DriveBytesRead => inner.DriveBytesRead;

        public void Run(int layer, RoutedRows rows, Span<float> sum)
        {
            inner.Run(layer, rows, sum);
            if (++Layers == after)
            {
                cancel.Cancel();
            }
        }

        public void Dispose() => inner.Dispose();
    }
}
