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

    [Test]
    public void Small_files_say_nothing()
    {
        string file = Path.Combine(_folder, "a");
        File.WriteAllBytes(file, new byte[100_000]);
        Assert.That(DriveBandwidthProbe.Measure([file], TimeSpan.FromMilliseconds(20), CancellationToken.None), Is.Null);
        Assert.That(DriveBandwidthProbe.Measure([], TimeSpan.FromMilliseconds(20), CancellationToken.None), Is.Null);
    }
}
