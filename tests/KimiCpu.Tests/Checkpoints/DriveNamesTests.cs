// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>Drives of made-up machines: each has reads of its own in flight, and none waits for another.</summary>
[TestFixture]
internal sealed class DriveNamesTests
{
    [TestCase("/Volumes/Fast 2", "/Volumes/Fast 2")]
    [TestCase("/", "/")]
    [TestCase("", null)]
    public void MacOS_tells_where_the_file_system_of_a_file_is_mounted(string point, string? drive)
    {
        byte[] statfs = new byte[2168];
        Encoding.UTF8.GetBytes("apfs").CopyTo(statfs, 72);
        Encoding.UTF8.GetBytes(point).CopyTo(statfs, 88);
        Encoding.UTF8.GetBytes("/dev/disk3s5").CopyTo(statfs, 1112);
        Assert.That(DriveNames.PointOf(statfs), Is.EqualTo(drive));
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
