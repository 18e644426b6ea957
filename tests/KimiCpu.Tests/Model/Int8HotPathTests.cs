// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
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

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static HotMatrix CopyAndForget(WorkerPool pool, WeightMatrix weight) => new Int8Copies(pool).Copy(weight);
}
