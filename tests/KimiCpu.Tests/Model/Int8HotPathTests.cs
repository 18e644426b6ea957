// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Model;

[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Int8HotPathTests
{
    /// <summary>kimi-nano is wide enough for every kind of copy. Two roundings to 8 bits cost little of its certainty.</summary>
    [Test]
    public void Copies_keep_the_logits_of_a_trained_model()
    {
        using var exact = new ModelUnderTest(Repository.NanoModel, Backend.CpuExact);
        using var copied = new ModelUnderTest(Repository.NanoModel, Backend.CpuInt8);
        int[] tokens = [.. Enumerable.Range(0, 40).Select(i => (i * 37) % 300)];
        Agreement agreement = Agreement.Of(exact.Logits(tokens), copied.Logits(tokens), exact.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MedianCosine, Is.GreaterThanOrEqualTo(0.999));
        Assert.That(agreement.MeanCosine, Is.GreaterThanOrEqualTo(0.99));
    }

    [Test]
    public void Tokens_one_by_one_give_the_bits_of_a_whole_prompt()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuInt8);
        int[] tokens = [.. Enumerable.Range(0, 30).Select(i => (i * 31) % 300)];
        float[] whole = model.Logits(tokens);
        Assert.That(model.Logits(tokens, 1), Is.EqualTo(whole), "token by token");
        Assert.That(model.Logits(tokens, 7, 13), Is.EqualTo(whole), "ragged chunks");
    }

    [Test]
    public void A_copy_is_within_half_a_step_of_the_weight([Values(256, 300, 1000)] int columns)
    {
        using var pool = new WorkerPool(2);
        using var copies = new Int8Copies(pool);
        using var weight = new Tests.Cpu.RandomMatrix(WeightFormat.BFloat16, 40, columns, 3);
        HotMatrix copy = copies.Copy(weight.Matrix);
        Assert.That(copy.Is8Bit);
        Assert.That(copies.ReplacedBytes, Is.EqualTo(weight.Matrix.TotalBytes));
        var row = new float[columns];
        int blocks = LaneSum.BlocksOf(columns);
        for (int r = 0; r < 40; r++)
        {
            WeightDecoder.DecodeRow(weight.Matrix, r, row);
            byte* tile = copy.Tiles + (r / WeightTile.Rows * WeightTile.Bytes(columns));
            for (int c = 0; c < columns; c++)
            {
                byte* record = tile + (WeightTile.RecordOf(c / 32, blocks) * WeightTile.RecordBytes);
                int place = ((c & 1) * 16) + (c % 32 / 2);
                int inTile = r % WeightTile.Rows;
                byte element = record[(inTile / 16 * WeightTile.HalfBytes) + (place / 4 * WeightTile.VectorBytes) + (inTile % 16 * 4) + (place % 4)];
                float scale = BFloat16.ToSingle(((ushort*)(record + WeightTile.ScalesAt))[inTile]);

                // The scale is rounded to 8 bits itself, so the largest weight of a group may lie one more half step away.
                Assert.That((element - WeightTile.Int8Bias) * scale, Is.EqualTo(row[c]).Within(scale * 1.01f), $"row {r}, column {c}");
            }
        }
    }

    /// <summary>As copies they would be twice as large, and rounded once more.</summary>
    [Test]
    public void Weights_of_four_bits_are_not_copied()
    {
        using var pool = new WorkerPool(1);
        using var copies = new Int8Copies(pool);
        using var weight = new Tests.Cpu.RandomMatrix(WeightFormat.Int4Group32, 40, 1024, 3);
        HotMatrix kept = copies.Copy(weight.Matrix);
        Assert.That(kept.Is8Bit, Is.False);
        Assert.That(kept.SavedBytes, Is.Zero);
        Assert.That((copies.TotalBytes, copies.ReplacedBytes, copies.ReservedBytes), Is.EqualTo((0L, 0L, 0L)));
    }

    /// <summary>Numbers of every magnitude, ties, groups of zeros, and one number among others that overflows, underflows or is none.</summary>
    [Test]
    public void A_copy_has_the_bits_of_its_definition()
    {
        const int Columns = 512 + 32 + 7;
        float[] special = [float.NaN, -float.NaN, BitConverter.UInt32BitsToSingle(0x7F800001), float.PositiveInfinity, float.NegativeInfinity, float.MaxValue, float.MinValue, float.Epsilon, -float.Epsilon, 1e-38f, -3e-39f, 1.27e-34f, 1.26e-34f, 0, -0f];
        using var weight = new Tests.Cpu.RandomMatrix(WeightFormat.Float32, 30, Columns, 4);
        Span<float> values = MemoryMarshal.Cast<byte, float>(weight.Data);
        var random = new Random(5);
        for (int row = 0; row < 30; row++)
        {
            Span<float> all = values.Slice(row * Columns, Columns);
            double magnitude = Math.Pow(10, -44 + (2.8 * row));
            foreach (ref float value in all)
            {
                // Of every third row: multiples of a half step, where rounding decides between two neighbours.
                double factor = row % 3 == 0 ? random.Next(-254, 255) / 254.0 : (random.NextDouble() * 2) - 1;
                value = (float)Math.Clamp(factor * magnitude, float.MinValue, float.MaxValue);
            }

            for (int group = row % 2; group < Columns / 32; group += 2)
            {
                all[(group * 32) + random.Next(32)] = special[random.Next(special.Length)];
            }

            all.Slice(random.Next(16) * 32, 32).Clear();
        }

        int bytes = (int)WeightTile.Bytes(Columns);
        using var actual = new AlignedBuffer<byte>(bytes);
        using var expected = new AlignedBuffer<byte>(bytes);
        Int8Copies.WriteTile(weight.Matrix, 0, actual.Pointer);
        Define(values, 30, Columns, expected.Pointer);
        Assert.That(actual.Span(0, bytes).ToArray(), Is.EqualTo(expected.Span(0, bytes).ToArray()));
    }

    [Test]
    public void A_copy_lives_as_long_as_the_matrix_that_reads_it([Values(40, 4000)] int rows)
    {
        using var pool = new WorkerPool(2);
        using var weight = new Tests.Cpu.RandomMatrix(WeightFormat.BFloat16, rows, 256, 3);
        HotMatrix copy = CopyAndForget(pool, weight.Matrix);
        byte[] before = new ReadOnlySpan<byte>(copy.Tiles, (int)copy.Bytes).ToArray();
        GC.Collect();
        GC.WaitForPendingFinalizers();

        // Memory that was given back is soon in other hands.
        using var other = new AlignedBuffer<byte>(copy.Bytes);
        other.Span(0, (int)copy.Bytes).Fill(0xEE);
        Assert.That(new ReadOnlySpan<byte>(copy.Tiles, (int)copy.Bytes).SequenceEqual(before));
        GC.KeepAlive(copy);
    }

    /// <summary>As those of Kimi K2's layers: one that nearly fills a block, and smaller ones before and behind it.</summary>
    [Test]
    public void Copies_take_room_that_larger_ones_leave()
    {
        long blockBytes = 32 * WeightTile.Bytes(512);
        using var pool = new WorkerPool(2);
        using var copies = new Int8Copies(pool, blockBytes);
        var matrices = new List<(Tests.Cpu.RandomMatrix Weight, HotMatrix Copy)>();
        try
        {
            for (int layer = 0; layer < 8; layer++)
            {
                foreach (int tiles in new[] { 6, 10, 2, 30, 7, 7, 7 })
                {
                    var weight = new Tests.Cpu.RandomMatrix(WeightFormat.BFloat16, tiles * WeightTile.Rows, 512, matrices.Count);
                    matrices.Add((weight, copies.Copy(weight.Matrix)));
                }
            }

            Assert.That(copies.ReservedBytes, Is.LessThan(1.15 * copies.TotalBytes));
            using var expected = new AlignedBuffer<byte>(WeightTile.Bytes(512));
            foreach ((Tests.Cpu.RandomMatrix weight, HotMatrix copy) in matrices)
            {
                int last = copy.Rows - WeightTile.Rows;
                Int8Copies.WriteTile(weight.Matrix, last, expected.Pointer);
                Assert.That(new ReadOnlySpan<byte>(copy.Tiles + copy.Bytes - WeightTile.Bytes(512), (int)WeightTile.Bytes(512)).SequenceEqual(expected.Span(0, (int)WeightTile.Bytes(512))));
            }
        }
        finally
        {
            matrices.ForEach(m => m.Weight.Dispose());
        }
    }

    /// <summary>A tile, number by number.</summary>
    private static void Define(ReadOnlySpan<float> values, int rows, int columns, byte* tile)
    {
        int blocks = LaneSum.BlocksOf(columns);
        Span<float> group = stackalloc float[32];
        for (int r = 0; r < WeightTile.Rows; r++)
        {
            for (int g = 0; g < blocks * LaneSum.Lanes; g++)
            {
                group.Clear();
                if (r < rows && g * 32 < columns)
                {
                    values.Slice((r * columns) + (g * 32), Math.Min(32, columns - (g * 32))).CopyTo(group);
                }

                byte* record = tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes);
                ushort scale = BFloat16.FromSingle(MathF.Abs(System.Numerics.Tensors.TensorPrimitives.MaxMagnitude<float>(group)) / 127);
                float rounded = BFloat16.ToSingle(scale);
                float inverse = rounded > 1e-36f && float.IsFinite(rounded) ? 1 / rounded : 0;
                ((ushort*)(record + WeightTile.ScalesAt))[r] = inverse == 0 && float.IsFinite(rounded) ? (ushort)0 : scale;
                for (int c = 0; c < 32; c++)
                {
                    int value = inverse == 0 ? 0 : Math.Clamp((int)MathF.Round(group[c] * inverse), -127, 127);
                    int place = ((c & 1) * 16) + (c / 2);
                    record[(r / 16 * WeightTile.HalfBytes) + (place / 4 * WeightTile.VectorBytes) + (r % 16 * 4) + (place % 4)] = (byte)(value + WeightTile.Int8Bias);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static HotMatrix CopyAndForget(WorkerPool pool, WeightMatrix weight) => new Int8Copies(pool).Copy(weight);
}
