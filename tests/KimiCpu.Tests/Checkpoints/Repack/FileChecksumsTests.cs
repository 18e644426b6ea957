// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Hashing;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>Checksums do not depend on the pieces in which the bytes come.</summary>
[TestFixture]
internal sealed class FileChecksumsTests
{
    [Test]
    public void Each_tensor_and_the_file_have_the_checksum_of_their_bytes([Range(1, 30)] int seed)
    {
        var random = new Random(seed);
        int head = random.Next(3) == 0 ? 0 : random.Next(200);
        int[] lengths = [.. Enumerable.Range(0, random.Next(6)).Select(_ => random.Next(4) == 0 ? 0 : random.Next(300))];
        var bytes = new byte[head + lengths.Sum()];
        random.NextBytes(bytes);
        TensorEntry[] tensors = [.. lengths.Select((n, i) => new TensorEntry($"t{i}", ElementType.UInt8, [n], head + lengths[..i].Sum(), n, 0))];

        var checksums = new FileChecksums(tensors, head);
        for (int done = 0; done < bytes.Length;)
        {
            int count = Math.Min(random.Next(100), bytes.Length - done);
            checksums.Append(bytes.AsSpan(done, count));
            done += count;
        }

        checksums.Append([]);
        WrittenFile written = checksums.Result("file");
        Assert.That(written.Bytes, Is.EqualTo(bytes.Length));
        Assert.That(written.Checksum, Is.EqualTo(Convert.ToHexStringLower(XxHash128.Hash(bytes))));
        Assert.That(written.Tensors, Has.Count.EqualTo(tensors.Length));
        foreach (TensorEntry tensor in tensors)
        {
            Assert.That(written.Tensors[tensor.Name], Is.EqualTo(Convert.ToHexStringLower(XxHash128.Hash(bytes.AsSpan((int)tensor.Offset, (int)tensor.Length)))), tensor.Name);
        }
    }
}
