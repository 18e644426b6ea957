// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

[TestFixture]
internal sealed class DriveBandwidthProbeTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Reads_whole_blocks_and_writes_nothing()
    {
        string file = Path.Combine(_folder, "a");
        File.WriteAllBytes(file, new byte[9_000_001]);
        DateTime written = File.GetLastWriteTimeUtc(file);
        DriveBandwidth found = DriveBandwidthProbe.Measure([file], TimeSpan.FromMilliseconds(20), CancellationToken.None)!;
        Assert.That(found.Bytes, Is.Positive);
        Assert.That(found.Bytes % (1 << 20), Is.Zero);
        Assert.That(found.BytesPerSecond, Is.Positive);
        Assert.That((File.GetLastWriteTimeUtc(file), Directory.GetFiles(_folder).Length), Is.EqualTo((written, 1)));
    }

    /// <summary>Those that read already are waited for: their files are closed then.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_reader_that_the_system_starts_no_thread_for_is_told_by_its_name()
    {
        string file = Path.Combine(_folder, "a");
        File.WriteAllBytes(file, new byte[9_000_001]);
        List<Thread> started = [];
        void Start(Thread thread)
        {
            if (started.Count == 2)
            {
                throw new NoThreadException();
            }

            started.Add(thread);
            thread.Start();
        }

        Assert.That(
            () => DriveBandwidthProbe.Measure([file], TimeSpan.FromMilliseconds(20), CancellationToken.None, Start),
            Throws.TypeOf<InsufficientMemoryException>().With.Message.Contains("kimi-probe-2").And.Message.Contains("ulimit -u"));
        Assert.That(started.Select(t => t.IsAlive), Is.EqualTo(new[] { false, false }));
    }

    [Test]
    public void Small_files_say_nothing()
    {
        string file = Path.Combine(_folder, "a");
        File.WriteAllBytes(file, new byte[100_000]);
        Assert.That(DriveBandwidthProbe.Measure([file], TimeSpan.FromMilliseconds(20), CancellationToken.None), Is.Null);
        Assert.That(DriveBandwidthProbe.Measure([], TimeSpan.FromMilliseconds(20), CancellationToken.None), Is.Null);
    }

    /// <summary>What <see cref="Thread.Start()"/> throws is no exception that anybody else may make.</summary>
    private sealed class NoThreadException : OutOfMemoryException;
}
