// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Tests.Cpu;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Routed experts on the GPU against the CPU's scalar kernels: the same bits but for the exponential.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class ExpertTests
{
    private const uint NoSlot = uint.MaxValue;

    /// <summary>Whole and ragged numbers of the 16 groups that half a warp takes at once, fewer than one of them, and more than the four that are loaded at once.</summary>
    [TestCase(32, 32, 1)]
    [TestCase(96, 64, 3)]
    [TestCase(544, 1056, 2)]
    [TestCase(2208, 512, 1)]
    public void Experts_agree_with_the_CPUs(int size, int inner, int batch)
    {
        using var harness = new KernelHarness();
        Check(harness, size, inner, batch, accumulate: true);
        Check(harness, size, inner, batch, accumulate: false);
    }

    [Test]
    public void Rows_that_are_not_finite_are_not_lost([Values(float.NaN, float.PositiveInfinity)] float value)
    {
        using var harness = new KernelHarness();
        using var experts = new Experts(harness, 64, 32, 3);
        experts.Residual[64 + 40] = value;
        (float[] output, _) = experts.Run(accumulate: false);
        Assert.That(output[64..128], Is.All.NaN);
        Assert.That(output[..64].Concat(output[128..]), Has.None.NaN);
    }

    [Test]
    public void Groups_of_nothing_and_of_next_to_nothing_are_zero()
    {
        using var harness = new KernelHarness();
        using var experts = new Experts(harness, 96, 32, 1);
        experts.Gain.AsSpan(0, 32).Clear();
        experts.Gain.AsSpan(32, 32).Fill(1e-37f);
        Assert.That(experts.Run(accumulate: false).Output, Has.None.NaN);
        byte[] rounded = harness.Get<byte>(experts.Rounded, KernelSet.RoundedBytes(96));
        Assert.That(Enumerable.Range(0, 3).Select(g => BitConverter.ToSingle(rounded, 96 + (4 * g)) == 0), Is.EqualTo(new[] { true, true, false }));
    }

    internal static void Check(KernelHarness harness, int size, int inner, int batch, bool accumulate)
    {
        using var experts = new Experts(harness, size, inner, batch);
        (float[] output, float[] before) = experts.Run(accumulate);
        experts.AssertRounded();
        experts.AssertInner();
        float[] expected = experts.Expected();
        for (int i = 0; i < output.Length; i++)
        {
            KernelHarness.AssertClose(accumulate ? before[i] + expected[i] : expected[i], output[i], 0, $"output {i} of {size} x {inner}, {batch} rows");
        }
    }

    internal static RandomMatrix Matrix(int rows, int columns, int seed) => new(WeightFormat.Int4Group32, rows, columns, seed + 100);

    /// <summary>A row rounded by the CPU's definition.</summary>
    internal static unsafe byte[] Round(ReadOnlySpan<float> values)
    {
        var record = new byte[values.Length / 32 * 40];
        fixed (float* x = values)
        fixed (byte* target = record)
        {
            ActivationQuantizer.Quantize(KimiCpu.Cpu.InstructionSet.Scalar, x, values.Length, new QuantizedRow(target, values.Length / 32));
        }

        return record;
    }

    /// <summary>By the CPU's scalar kernel.</summary>
    internal static unsafe float[] Multiply(RandomMatrix matrix, byte[] rounded, int columns)
    {
        var y = new float[matrix.Matrix.Rows];
        fixed (float* target = y)
        fixed (byte* x = rounded)
        {
            Int4Gemv.Multiply(KimiCpu.Cpu.InstructionSet.Scalar, matrix.Matrix, 0, y.Length, new QuantizedRow(x, columns / 32), target);
        }

        return y;
    }

    /// <summary>Five experts, three of which have slots, in another order; every row chooses three, the last row, if there are several, none that has a slot.</summary>
    private sealed unsafe class Experts : IDisposable
    {
        private const int Count = 5;
        private const int Chosen = 3;

        // Far from the beginning of the memory, as slots of a large card are: an offset of 32 bits would not reach them.
        private const uint First = 3_000_000;
        private static readonly uint[] s_slotOf = [First + 1, NoSlot, First + 2, First, NoSlot];
        private readonly KernelHarness _harness;
        private readonly int _size;
        private readonly int _inner;
        private readonly int _batch;
        private readonly RandomMatrix[][] _matrices;
        private readonly ExpertSlotLayout _layout;
        private readonly int[] _ids;
        private float[] _hidden = [];
        private float[] _weights = [];
        private ulong _innerRows;

        public Experts(KernelHarness harness, int size, int inner, int batch)
        {
            (_harness, _size, _inner, _batch) = (harness, size, inner, batch);
            _layout = new ExpertSlotLayout(RouterAndModuleTests.Shape(Count, Chosen, 1, 1, size, inner));
            _matrices = [.. Enumerable.Range(0, Count).Select(e => new[] { Matrix(inner, size, e), Matrix(inner, size, 10 + e), Matrix(size, inner, 20 + e) })];
            Residual = KernelHarness.Random(batch * size, seed: 1);
            Gain = KernelHarness.Random(size, seed: 2);
            _ids = [.. Enumerable.Range(0, batch).SelectMany(r => batch > 1 && r == batch - 1 ? new[] { 4, 1, 4 } : [r % 2 == 0 ? 0 : 4, 3, 2])];
        }

        public float[] Residual { get; }

        public float[] Gain { get; }

        public ulong Rounded { get; private set; }

        public (float[] Output, float[] Before) Run(bool accumulate)
        {
            byte[] slots = new byte[3 * _layout.Bytes];
            fixed (byte* target = slots)
            {
                for (int e = 0; e < Count; e++)
                {
                    if (s_slotOf[e] != NoSlot)
                    {
                        _layout.Copy(Mlp(e), target + ((s_slotOf[e] - First) * _layout.Bytes));
                    }
                }
            }

            Route();
            int pairs = _batch * Chosen;
            ulong pairSlots = _harness.New<uint>(pairs);
            ulong pairWeights = _harness.New<float>(pairs);
            ulong residual = _harness.Put<float>(Residual);
            ulong gain = _harness.Put<float>(Gain);
            Rounded = _harness.New<byte>(_batch * KernelSet.RoundedBytes(_size));
            _innerRows = _harness.New<byte>(pairs * KernelSet.RoundedBytes(_inner));
            float[] before = KernelHarness.Random(_batch * _size, seed: 3);
            ulong output = accumulate ? _harness.Put<float>(before) : _harness.New<float>(before.Length);
            Assert.That(First * _layout.Bytes, Is.GreaterThan(uint.MaxValue));
            ExpertSlotsArguments experts = _layout.At(unchecked(_harness.Put<byte>(slots) - (ulong)(First * _layout.Bytes)));
            _harness.Kernels.RoundForExperts(_harness.Stream, _batch, new ExpertRoundArguments
            {
                Residual = residual,
                Gain = gain,
                Ids = _harness.Put<int>(_ids),
                Weights = _harness.Put<float>(_weights),
                SlotOf = _harness.Put<uint>(s_slotOf),
                Slots = pairSlots,
                SlotWeights = pairWeights,
                Rounded = Rounded,
                Size = (uint)_size,
                Chosen = Chosen,
                Epsilon = 1e-5f,
            });
            _harness.Kernels.ExpertGateUp(_harness.Stream, new ExpertGateUpArguments { Experts = experts, Slots = pairSlots, Rounded = Rounded, Inner = _innerRows, Pairs = (uint)pairs, Chosen = Chosen, Size = (uint)_size, InnerSize = (uint)_inner });
            _harness.Kernels.ExpertDown(_harness.Stream, _batch, new ExpertDownArguments { Experts = experts, Slots = pairSlots, SlotWeights = pairWeights, Inner = _innerRows, Output = output, Chosen = Chosen, Size = (uint)_size, InnerSize = (uint)_inner, Accumulate = accumulate ? 1u : 0 });
            float[] result = _harness.Get<float>(output, before.Length);
            Assert.That(_harness.Get<uint>(pairSlots, pairs), Is.EqualTo(_ids.Select(e => s_slotOf[e])));
            return (result, before);
        }

        /// <summary>The rows that route hands to the host, rounded by the CPU's definition, are the rows that the GPU multiplies.</summary>
        public void AssertRounded()
        {
            byte[] actual = _harness.Get<byte>(Rounded, _batch * KernelSet.RoundedBytes(_size));
            for (int row = 0; row < _batch; row++)
            {
                if (_ids.AsSpan(row * Chosen, Chosen).ToArray().Any(e => s_slotOf[e] != NoSlot))
                {
                    byte[] expected = Round(_hidden.AsSpan(row * _size, _size));
                    byte[] found = actual[(row * KernelSet.RoundedBytes(_size))..][..expected.Length];
                    if (!found.AsSpan().SequenceEqual(expected))
                    {
                        throw new AssertionException($"rounded row {row}");
                    }
                }
            }
        }

        /// <summary>Gate and up have the CPU's bits; the exponential may round an inner value to a neighbour.</summary>
        public void AssertInner()
        {
            int bytes = KernelSet.RoundedBytes(_inner);
            byte[] actual = _harness.Get<byte>(_innerRows, _ids.Length * bytes);
            int values = 0;
            int different = 0;
            for (int pair = 0; pair < _ids.Length; pair++)
            {
                if (s_slotOf[_ids[pair]] == NoSlot)
                {
                    continue;
                }

                byte[] x = Round(_hidden.AsSpan(pair / Chosen * _size, _size));
                float[] gate = Multiply(_matrices[_ids[pair]][0], x, _size);
                float[] up = Multiply(_matrices[_ids[pair]][1], x, _size);
                byte[] expected = Round([.. gate.Zip(up, (g, u) => g * (float)(1 / (1 + Math.Exp(-(double)g))) * u)]);
                ReadOnlySpan<byte> found = actual.AsSpan(pair * bytes, expected.Length);
                for (int i = 0; i < _inner; i++, values++)
                {
                    int difference = Math.Abs((sbyte)found[i] - (sbyte)expected[i]);
                    different += difference;
                    KernelHarness.AssertClose(0, difference, 1, $"inner value {i} of pair {pair}");
                }

                for (int g = 0; g < _inner / 32; g++)
                {
                    float scale = BitConverter.ToSingle(expected, _inner + (4 * g));
                    KernelHarness.AssertClose(scale, BitConverter.ToSingle(found[(_inner + (4 * g))..]), 1e-6 * scale, $"factor {g} of pair {pair}");
                }
            }

            KernelHarness.AssertClose(0, different, 1 + (values / 100.0), "inner values that differ");
        }

        /// <summary>By the CPU's scalar kernel, of the inner rows that the GPU has.</summary>
        public float[] Expected()
        {
            int bytes = KernelSet.RoundedBytes(_inner);
            byte[] inner = _harness.Get<byte>(_innerRows, _ids.Length * bytes);
            var sums = new float[_batch * _size];
            for (int pair = 0; pair < _ids.Length; pair++)
            {
                if (s_slotOf[_ids[pair]] != NoSlot)
                {
                    float[] down = Multiply(_matrices[_ids[pair]][2], inner[(pair * bytes)..][..bytes], _inner);
                    for (int i = 0; i < _size; i++)
                    {
                        ref float sum = ref sums[(pair / Chosen * _size) + i];
                        sum = MathF.FusedMultiplyAdd(_weights[pair], down[i], sum);
                    }
                }
            }

            return sums;
        }

        public void Dispose()
        {
            foreach (RandomMatrix matrix in _matrices.SelectMany(m => m))
            {
                matrix.Dispose();
            }
        }

        private MlpWeights Mlp(int expert) => new() { Gate = _matrices[expert][0].Matrix, Up = _matrices[expert][1].Matrix, Down = _matrices[expert][2].Matrix };

        /// <summary>For the hidden rows as the host gets them; the choice is the test's own.</summary>
        private void Route()
        {
            ulong hidden = _harness.New<float>(_batch * _size);
            _harness.Kernels.Route(_harness.Stream, _batch, new RouteArguments
            {
                Residual = _harness.Put<float>(Residual),
                Gain = _harness.Put<float>(Gain),
                Logits = _harness.Put<float>(KernelHarness.Random(_batch * Count, seed: 4)),
                Bias = _harness.Put<float>(new float[Count]),
                Hidden = hidden,
                Ids = _harness.New<int>(_ids.Length),
                Weights = _harness.New<float>(_ids.Length),
                Flag = _harness.Put<uint>([0]),
                FlagBase = _harness.Put<uint>([1]),
                Finished = _harness.Put<uint>([0]),
                Size = (uint)_size,
                Experts = Count,
                Chosen = Chosen,
                Groups = 1,
                GroupsChosen = 1,
                Epsilon = 1e-5f,
                Factor = 1,
            });
            _hidden = _harness.Get<float>(hidden, _batch * _size);
            _weights = KernelHarness.Random(_ids.Length, seed: 5);
        }
    }
}
