// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class OuterProductsTests
{
    private static IEnumerable<InstructionSet> Sets => CpuFeatures.Supported;

    /// <summary>Rows of A side by side, as keys lie, and one after another, as weights of queries do. What is beside a tile stays as it was.</summary>
    [Test]
    public void Every_tile_adds_chains_by_rising_step([ValueSource(nameof(Sets))] InstructionSet set, [Values] bool rowsAreDense, [Values(1, 7, 96)] int steps)
    {
        (int lanes, int mostVectors) = SizesOf(set);
        for (int rows = 1; rows <= OuterProducts.MostRows; rows++)
        {
            for (int vectors = 1; vectors <= mostVectors; vectors++)
            {
                int width = vectors * lanes;
                long rowStride = rowsAreDense ? steps + 3 : 1, step = rowsAreDense ? 1 : rows + 2;
                using var a = new Floats((int)(((rows - 1) * rowStride) + ((steps - 1) * step)) + 1, 1);
                using var b = new Floats(((steps - 1) * (width + 5)) + width, 2);
                using var c = new Floats(((rows - 1) * (width + 1)) + width, 3);
                float[] expected = c.Span.ToArray();
                for (int i = 0; i < rows; i++)
                {
                    for (int v = 0; v < width; v++)
                    {
                        ref float sum = ref expected[(i * (width + 1)) + v];
                        for (int k = 0; k < steps; k++)
                        {
                            sum = MultiplyAdd(set, a.Pointer[(i * rowStride) + (k * step)], b.Pointer[(k * (width + 5)) + v], sum);
                        }
                    }
                }

                Add(set, rows, vectors, a.Pointer, rowStride, step, b.Pointer, width + 5, steps, c.Pointer, width + 1);
                Assert.That(c.Span.ToArray(), Is.EqualTo(expected), $"{rows} rows, {vectors} vectors");
            }
        }
    }

    private static float MultiplyAdd(InstructionSet set, float a, float b, float c) => set switch
    {
        InstructionSet.Scalar => (a * b) + c,
        InstructionSet.Vector128 => System.Runtime.Intrinsics.Vector128.MultiplyAddEstimate(
            System.Runtime.Intrinsics.Vector128.Create(a), System.Runtime.Intrinsics.Vector128.Create(b), System.Runtime.Intrinsics.Vector128.Create(c))[0],
        _ => MathF.FusedMultiplyAdd(a, b, c),
    };

    private static (int Lanes, int MostVectors) SizesOf(InstructionSet set) => set switch
    {
        InstructionSet.Avx512 => (Lanes512.Count, OuterProducts.MostVectors<Lanes512>()),
        InstructionSet.Avx2 => (Lanes256.Count, OuterProducts.MostVectors<Lanes256>()),
        InstructionSet.Vector128 => (Lanes128.Count, OuterProducts.MostVectors<Lanes128>()),
        _ => (LanesScalar.Count, OuterProducts.MostVectors<LanesScalar>()),
    };

    private static void Add(InstructionSet set, int rows, int vectors, float* a, long aRowStride, long aStep, float* b, long bStride, int steps, float* c, long cStride)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                OuterProducts.Add<Lanes512>(rows, vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case InstructionSet.Avx2:
                OuterProducts.Add<Lanes256>(rows, vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case InstructionSet.Vector128:
                OuterProducts.Add<Lanes128>(rows, vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            default:
                OuterProducts.Add<LanesScalar>(rows, vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
        }
    }

    /// <summary>Random numbers that end at a page which must not be touched.</summary>
    private sealed class Floats : IDisposable
    {
        private readonly GuardedBuffer _buffer;

        public Floats(int count, int seed)
        {
            _buffer = new GuardedBuffer(sizeof(float) * count);
            var random = new Random(seed);
            for (int i = 0; i < count; i++)
            {
                Pointer[i] = random.NextSingle() - 0.5f;
            }
        }

        public float* Pointer => (float*)_buffer.Pointer;

        public Span<float> Span => new(Pointer, _buffer.Length / sizeof(float));

        public void Dispose() => _buffer.Dispose();
    }
}
