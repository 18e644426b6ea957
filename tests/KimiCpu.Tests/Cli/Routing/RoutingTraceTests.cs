// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using KimiCpu.Cli.Routing;

namespace KimiCpu.Tests.Cli.Routing;

[TestFixture]
internal sealed class RoutingTraceTests
{
    private string _folder = null!;

    private string FilePath => Path.Combine(_folder, "a.trace");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void What_is_written_is_read([Values] bool predictions)
    {
        RoutingTrace written = Write(predictions);
        var read = RoutingTrace.Read(FilePath);
        Assert.That(read.Header.ToBytes(), Is.EqualTo(written.Header.ToBytes()));
        Assert.That(read.Header.MoeLayers, Is.EqualTo(written.Header.MoeLayers));
        Assert.That(read.Steps.Select(s => s.Rows), Is.EqualTo(written.Steps.Select(s => s.Rows)));
        Assert.That(read.Steps.Select(s => s.Experts.ToArray()), Is.EqualTo(written.Steps.Select(s => s.Experts.ToArray())));
        Assert.That(read.Steps.Select(s => s.Predicted.ToArray()), Is.EqualTo(written.Steps.Select(s => s.Predicted.ToArray())));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
    }

    [Test]
    public void An_unfinished_trace_leaves_nothing()
    {
        RoutingTraceHeader header = Traces.Header(2, 8, 2);
        using (var writer = new RoutingTraceWriter(FilePath, header))
        {
            writer.Write(new RoutingStep(header, 1));
        }

        Assert.That(Directory.GetFiles(_folder), Is.Empty);
    }

    /// <summary>Whichever byte is changed, and wherever the file is cut, the reader says so.</summary>
    [Test]
    public void Damage_is_noticed_wherever_it_is()
    {
        Write(predictions: true);
        byte[] sound = File.ReadAllBytes(FilePath);
        for (int at = 0; at < sound.Length; at++)
        {
            byte[] damaged = [.. sound];
            damaged[at] ^= 0x41;
            File.WriteAllBytes(FilePath, damaged);
            Assert.That(() => RoutingTrace.Read(FilePath), Throws.TypeOf<RoutingTraceException>().With.Message.Contains(FilePath), $"byte {at}");
            File.WriteAllBytes(FilePath, sound[..at]);
            Assert.That(() => RoutingTrace.Read(FilePath), Throws.TypeOf<RoutingTraceException>(), $"cut at {at}");
        }

        File.WriteAllBytes(FilePath, [.. sound, 0]);
        Assert.That(() => RoutingTrace.Read(FilePath), Throws.TypeOf<RoutingTraceException>());
    }

    [Test]
    public void Lengths_are_not_trusted()
    {
        Write(predictions: false);
        byte[] bytes = File.ReadAllBytes(FilePath);
        int headerLength = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(12));
        int rowsAt = RoutingTraceFormat.OpeningBytes + headerLength + RoutingTraceFormat.HashBytes;
        foreach (int rows in new[] { -1, RoutingTraceFormat.MaxRows, int.MaxValue, int.MinValue })
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(rowsAt), rows);
            File.WriteAllBytes(FilePath, bytes);
            Assert.That(() => RoutingTrace.Read(FilePath), Throws.TypeOf<RoutingTraceException>().With.Message.Contains("rows"));
        }

        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), int.MaxValue);
        File.WriteAllBytes(FilePath, bytes);
        Assert.That(() => RoutingTrace.Read(FilePath), Throws.TypeOf<RoutingTraceException>().With.Message.Contains("header"));
    }

    [Test]
    public void Headers_that_make_no_sense_are_refused()
    {
        RoutingTraceHeader header = Traces.Header(2, 8, 2);
        foreach (RoutingTraceHeader wrong in new[]
        {
            header with { ExpertCount = 0 }, header with { ExpertsPerToken = 9 }, header with { ExpertBytes = 0 }, header with { MoeLayers = [] },
            header with { MoeLayers = [2, 1] }, header with { MoeLayers = [3] }, header with { LayerCount = int.MaxValue },
            header with { LayerCount = 4096, MoeLayers = [.. Enumerable.Range(0, 4096)], ExpertCount = 1 << 16 },
        })
        {
            Assert.That(() => RoutingTraceHeader.Of(wrong.ToBytes()), Throws.TypeOf<FormatException>());
        }

        Assert.That(() => RoutingTraceHeader.Of(header.ToBytes()[..^1]), Throws.TypeOf<FormatException>());
    }

    [Test]
    public void Ids_beyond_the_experts_are_refused()
    {
        RoutingTraceHeader header = Traces.Header(1, 8, 1);
        using (var writer = new RoutingTraceWriter(FilePath, header))
        {
            var step = new RoutingStep(header, 1);
            step.Experts[0] = 8;
            writer.Write(step);
            writer.Finish();
        }

        Assert.That(() => RoutingTrace.Read(FilePath), Throws.TypeOf<RoutingTraceException>().With.Message.Contains("id 8"));
    }

    private RoutingTrace Write(bool predictions)
    {
        RoutingTraceHeader header = Traces.Header(3, 40, 2, predictions);
        var random = new Random(5);
        RoutingStep[] steps = [.. new[] { 5, 1, 1 }.Select(rows => new RoutingStep(header, rows))];
        using var writer = new RoutingTraceWriter(FilePath, header);
        foreach (RoutingStep step in steps)
        {
            foreach (ref ushort id in step.Experts)
            {
                id = (ushort)random.Next(40);
            }

            foreach (ref ushort id in step.Predicted)
            {
                id = (ushort)random.Next(40);
            }

            writer.Write(step);
        }

        writer.Finish();
        return new RoutingTrace(header, steps);
    }
}
