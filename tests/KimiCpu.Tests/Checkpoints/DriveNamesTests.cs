// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>Drives of made-up machines: each has reads of its own in flight, and none waits for another.</summary>
[TestFixture]
internal sealed class DriveNamesTests
{
    [TestCase("/Users/me/Kimi-K2/model-00001.safetensors", "/")]
    [TestCase("/Volumes/Fast/Kimi-K2/model-00002.safetensors", "/Volumes/Fast")]
    [TestCase("/Volumes/Fast 2/model-00003.safetensors", "/Volumes/Fast 2")]
    [TestCase("/Volumes/Fast/nested/model-00004.safetensors", "/Volumes/Fast/nested")]
    [TestCase("/Volumes/Faster/model-00005.safetensors", "/")]
    [TestCase("/Volumes/Fast", "/Volumes/Fast")]
    public void The_innermost_mount_point_that_holds_a_file_is_its_drive(string path, string drive)
    {
        string[] points = ["/", "/dev", "/Volumes/Fast/nested", "/Volumes/Fast", "/Volumes/Fast 2", "/System/Volumes/Data"];
        Assert.That(DriveNames.PointOf(path, points), Is.EqualTo(drive));
        Assert.That(DriveNames.PointOf(path, points.Reverse()), Is.EqualTo(drive));
        Assert.That(DriveNames.PointOf(path, ["/dev"]), Is.Null);
    }

    [TestCase("/home/me/model-00001.safetensors", "/dev/nvme0n1p2")]
    [TestCase("/mnt/fast drive/model-00002.safetensors", "/dev/nvme1n1")]
    [TestCase("/mnt/model-00003.safetensors", "/dev/nvme0n1p2")]
    [TestCase("/mnt/again/model-00004.safetensors", "server:/share")]
    public void Linux_tells_the_device_that_is_mounted_there(string path, string device)
    {
        string[] mounts = ["/dev/nvme0n1p2 / ext4 rw 0 0", "/dev/nvme1n1 /mnt/fast\\040drive xfs rw 0 0", "/dev/sda1 /mnt/again ext4 rw 0 0", "server:/share /mnt/again nfs rw 0 0", ""];
        Assert.That(DriveNames.DeviceOf(path, mounts), Is.EqualTo(device));
    }

    /// <summary>Asked as on macOS.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Drives have letters there, and volumes in folders are not among them.")]
    public void The_system_tells_its_mount_points() =>
        Assert.That(DriveNames.PointOf(Environment.CurrentDirectory, DriveNames.MountPoints()), Is.Not.Null);

    [Test]
    public void A_file_of_this_machine_has_a_drive()
    {
        string file = Path.GetTempFileName();
        try
        {
            Assert.That(DriveNames.Of(file), Is.Not.Empty);
            Assert.That(DriveNames.Of(Repository.Root), Is.EqualTo(DriveNames.Of(Path.Combine(Repository.Root, "README.md"))));
        }
        finally
        {
            File.Delete(file);
        }
    }
}
