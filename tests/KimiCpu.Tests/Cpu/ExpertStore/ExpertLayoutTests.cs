// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore;

/// <summary>How few reads bring an expert in, and where its tensors lie then.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed unsafe class ExpertLayoutTests
{
    [Test]
    public void Neighbours_in_a_file_come_in_one_read_whatever_the_order_of_the_tensors()
    {
        // As in the releases: the packed weights of an expert side by side with the small shapes between, its scales elsewhere.
        var layout = new ExpertLayout(
        [
            new(0, 1_000_016, 500_000), new(0, 90_000_000, 60_000),
            new(0, 1_500_032, 500_000), new(0, 90_060_000, 60_000),
            new(0, 500_000, 500_000), new(0, 89_940_000, 60_000),
        ]);
        Assert.That(layout.Reads, Has.Count.EqualTo(2));
        Assert.That(layout.Reads.Sum(r => r.Length), Is.InRange(1_680_000, 1_680_000 + (5 * IWeightFiles.Alignment)));
        Assert.That(layout.SlotBytes, Is.EqualTo(layout.Reads.Sum(r => r.Length)));
    }

    [Test]
    public void Tensors_far_apart_or_in_other_files_are_read_by_themselves()
    {
        var layout = new ExpertLayout([new(0, 0, 10), default, new(0, 10_000_000, 10), default, new(1, 20, 10), default]);
        Assert.That(layout.Reads.Select(r => (r.File, r.Offset, r.Length)), Is.EqualTo(new[] { (0, 0L, 4096L), (0, 9_998_336L, 4096L), (1, 0L, 4096L) }));
    }

    [Test]
    public void Every_byte_of_every_tensor_lands_where_the_layout_says([Range(1, 40)] int seed)
    {
        var random = new Random(seed);
        byte[][] files = [.. Enumerable.Range(0, 3).Select(_ => RandomBytes(random, 3 << 20))];
        var places = new TensorPlace[ExpertFiles.Parts];
        for (int part = 0; part < places.Length; part++)
        {
            // Formats without scales have every other part empty.
            long length = part % 2 == 1 && seed % 3 == 0 ? 0 : random.Next(1, 200_000);
            int file = random.Next(files.Length);
            places[part] = new TensorPlace(file, random.NextInt64(files[file].Length - length + 1), length);
        }

        var layout = new ExpertLayout(places);
        using var slot = new AlignedBuffer<byte>(layout.SlotBytes);
        foreach (SlotRead read in layout.Reads)
        {
            Assert.That(new[] { read.Offset, read.Length, read.SlotOffset }, Has.All.Matches<long>(n => n % IWeightFiles.Alignment == 0));
            byte[] file = files[read.File];
            int count = (int)Math.Min(read.Length, file.Length - read.Offset);
            file.AsSpan((int)read.Offset, count).CopyTo(new Span<byte>(slot.Pointer + read.SlotOffset, count));
        }

        bool scales = places[1].Length > 0;
        var stored = new WeightMatrix(WeightFormat.Int4Group32, 3, 64, slot.Pointer, scales ? slot.Pointer : null);
        MlpWeights expert = layout.At(slot.Pointer, new MlpWeights { Gate = stored, Up = stored, Down = stored });
        WeightMatrix[] matrices = [expert.Gate, expert.Up, expert.Down];
        for (int part = 0; part < places.Length; part++)
        {
            TensorPlace place = places[part];
            byte* data = part % 2 == 0 ? matrices[part / 2].Data : matrices[part / 2].Scales;
            Assert.That(new ReadOnlySpan<byte>(data, (int)place.Length).SequenceEqual(files[place.File].AsSpan((int)place.Offset, (int)place.Length)), $"part {part}");
        }
    }

    private static byte[] RandomBytes(Random random, int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
