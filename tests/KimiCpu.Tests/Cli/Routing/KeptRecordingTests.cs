// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cli.Routing;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli.Routing;

[TestFixture]
internal sealed class KeptRecordingTests
{
    private static readonly Exception[] s_failures =
    [
        new InsufficientMemoryException("The system refuses it."),
        new KimiException("The drive fails."),
        new OperationCanceledException("It was cancelled."),
    ];

    private string _folder = "";

    private string TraceFile => Path.Combine(_folder, "a.trace");

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    /// <summary>Scratch memory grows with the text, and what the system refuses is no error of the model's.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void What_was_recorded_stays_where_a_pass_cannot_be_done([ValueSource(nameof(s_failures))] Exception failure)
    {
        FailingExperts? experts = null;
        using var opened = new OpenedModel(null, new CpuBackendOptions { Threads = 1, LookAhead = true }, route: (_, inner) => experts = new FailingExperts(inner, failure));
        RoutingTraceHeader header = TraceRecorder.HeaderOf(opened.Checkpoint, opened.Weights, "a test");
        experts!.LayersLeft = 2 * header.MoeLayers.Count;
        var error = new StringWriter();
        using (var writer = new RoutingTraceWriter(TraceFile, header))
        {
            var options = new GenerationOptions { Temperature = 0, IgnoreEndOfText = true, MaxTokens = 9 };
            Assert.That(
                () => KeptRecording.Run(TraceFile, writer, () => TracedGeneration.Run(opened, [1, 2, 3], options, 256, new TraceRecorder(opened.Forward, header), writer, _ => { }, CancellationToken.None), error),
                Throws.Exception.SameAs(failure));
        }

        Assert.That(RoutingTrace.Read(TraceFile).Steps, Has.Count.EqualTo(2));
        Assert.That(error.ToString(), Is.EqualTo($"What was recorded until then is in {TraceFile} (2 forward passes).{Environment.NewLine}"));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1), "nothing unfinished is left");
    }

    [Test]
    [CancelAfter(60_000)]
    public void Without_a_pass_there_is_nothing_to_keep()
    {
        using var opened = new OpenedModel(null, new CpuBackendOptions { Threads = 1 });
        var error = new StringWriter();
        using (var writer = new RoutingTraceWriter(TraceFile, TraceRecorder.HeaderOf(opened.Checkpoint, opened.Weights, "a test")))
        {
            Assert.That(() => KeptRecording.Run(TraceFile, writer, () => throw new InsufficientMemoryException(), error), Throws.TypeOf<InsufficientMemoryException>());
        }

        Assert.That((error.ToString(), Directory.GetFiles(_folder).Length), Is.EqualTo(("", 0)));
    }

    private sealed class FailingExperts(IRoutedExperts inner, Exception failure) : IRoutedExperts
    {
        public int LayersLeft { get; set; }

        public long DriveBytesRead => inner.DriveBytesRead;

        public void Run(int layer, RoutedRows rows, Span<float> sum)
        {
            if (LayersLeft-- == 0)
            {
                throw failure;
            }

            inner.Run(layer, rows, sum);
        }

        public void Dispose() => inner.Dispose();
    }
}
