// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Int8CopiesTests
{
    /// <summary>A scale that lies halfway between two bfloat16 numbers is rounded down the furthest: the largest weight is 127.496 steps then, and 127.5 would become -128.</summary>
    [TestCase(1.00390625f)]
    [TestCase(1.0039062f)]
    [TestCase(1.0039064f)]
    [TestCase(1.00398f)]
    [TestCase(1.0078f)]
    [TestCase(1.01171875f)]
    [TestCase(1.99609375f)]
    public void The_largest_weight_of_a_group_keeps_its_sign_whatever_its_scale_is_rounded_to(float scale)
    {
        using var weight = new RandomMatrix(WeightFormat.Float32, 1, LaneSum.Lanes * Int4Group32.GroupSize, 1);
        weight.Data.Clear();
        float* values = (float*)weight.Matrix.Data;
        values[0] = 127 * scale;
        values[2] = -127 * scale;
        var tile = new byte[WeightTile.Bytes(weight.Matrix.Columns)];
        fixed (byte* target = tile)
        {
            Int8Copies.WriteTile(weight.Matrix, 0, target);
        }

        // Even columns come first.
        Assert.That(tile[..3], Is.EqualTo(new byte[] { 127 + WeightTile.Int8Bias, -127 + WeightTile.Int8Bias, WeightTile.Int8Bias }));
    }
}
