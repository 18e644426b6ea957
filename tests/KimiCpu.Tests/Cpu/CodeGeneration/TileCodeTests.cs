// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class TileCodeTests
{
    private static readonly CallingConvention[] s_conventions = [CallingConvention.SystemV, CallingConvention.WindowsX64];

    /// <summary>Without stack use and saved registers a function needs no unwind information on either system.</summary>
    [Test]
    public void Code_writes_only_registers_that_belong_to_it_and_no_stack([ValueSource(nameof(s_conventions))] CallingConvention convention, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.All))] CodeTarget target)
    {
        GeneratedCode functions = GeneratedCode.Assemble(convention, target);
        byte[] code = functions.Bytes;
        bool windows = convention == CallingConvention.WindowsX64;
        Register[] saved = windows
            ? [Register.RBX, Register.RBP, Register.RDI, Register.RSI, Register.RSP, Register.R12, Register.R13, Register.R14, Register.R15, .. Enumerable.Range(6, 10).Select(i => Register.ZMM0 + i)]
            : [Register.RBX, Register.RBP, Register.RSP, Register.R12, Register.R13, Register.R14, Register.R15];
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        var info = new InstructionInfoFactory();
        int returns = 0;
        while (decoder.IP < (ulong)code.Length)
        {
            Instruction instruction = decoder.Decode();
            Assert.That(instruction.IsInvalid, Is.False);
            if (instruction.Mnemonic is Mnemonic.Ret)
            {
                returns++;
                continue;
            }

            // vzeroupper clears bits 128 and up, which no convention keeps; int3 fills the gaps between functions.
            if (instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Int3)
            {
                continue;
            }

            Assert.That(instruction.IsStackInstruction, Is.False, instruction.ToString());
            foreach (UsedRegister used in info.GetInfo(instruction).GetUsedRegisters())
            {
                bool writes = used.Access is OpAccess.Write or OpAccess.ReadWrite or OpAccess.CondWrite or OpAccess.ReadCondWrite;
                Assert.That(writes && saved.Contains(used.Register.GetFullRegister()), Is.False, instruction.ToString());
            }
        }

        Assert.That(returns, Is.EqualTo(functions.Tiles.Count + 1 + functions.Int4Tokens.Count + functions.BFloat16.Count + functions.BFloat16Pairs.Count + functions.BFloat16Scores.Count + 1 + 3));
    }

    [Test]
    public void Upper_nibbles_come_by_GFNI_where_it_may_be_used([ValueSource(nameof(s_conventions))] CallingConvention convention, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.All))] CodeTarget target)
    {
        byte[] code = GeneratedCode.Assemble(convention, target).Bytes;
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        bool found = false;
        while (decoder.IP < (ulong)code.Length)
        {
            found |= decoder.Decode().Mnemonic == Mnemonic.Vgf2p8affineqb;
        }

        Assert.That(found, Is.EqualTo(target.HasGaloisField));
    }

    /// <summary>Runs the Windows functions here through a bridge between the conventions, and compares with the scalar kernel.</summary>
    [Test]
    public void Code_for_windows_computes_the_same_bits([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target)
    {
        if (GeneratedTileKernel.Shared is null || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX-512 VNNI and a system with the System V convention.");
        }

        const int Columns = 1000;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, target);
        int mostTokens = functions.Tiles.Count;
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        using var tile = new AlignedBuffer<byte>(WeightTile.Bytes(Columns));
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, WeightTile.Rows, Columns, 1);
        TileUnpacker.Unpack(weight.Matrix, 0, tile.Pointer);
        using QuantizedRows rows = TileKernelTests.Rounded(mostTokens, Columns, 2);
        using var lanes = new AlignedBuffer<float>(LaneSum.Lanes * mostTokens * WeightTile.Rows);
        for (int tokens = 1; tokens <= mostTokens; tokens++)
        {
            using ExecutableMemory bridge = Bridge(windows.Pointer + functions.Tiles[tokens - 1]);
            using var tiles = new ActivationTiles();
            tiles.Resize(tokens, Columns);
            tiles.Write([.. Enumerable.Range(0, tokens).Select(rows.Row)], 0, Int4Group32.Bias);

            var function = (delegate* unmanaged<TileArguments*, void>)bridge.Pointer;
            var actual = new float[tokens * WeightTile.Rows];
            fixed (float* y = actual)
            {
                var arguments = new TileArguments
                {
                    Weights = tile.Pointer,
                    Activations = tiles.Tile(0),
                    Lanes = lanes.Pointer,
                    Blocks = tiles.Blocks,
                    Next = tile.Pointer,
                    BytesOfGroup = TileAhead.ManyLines * TileAhead.LineBytes,
                    Y = y,
                    YStrideBytes = WeightTile.Rows * sizeof(float),
                };
                function(&arguments);
            }

            float[] expected = [.. Enumerable.Range(0, tokens).SelectMany(t => TileKernelTests.Multiply(TileKernel.Of(TileKernelKind.Scalar), tile.Pointer, false, Columns, rows, 1, t))];
            Assert.That(actual, Is.EqualTo(expected), $"{tokens} tokens");
        }
    }

    [Test]
    public void Code_for_windows_computes_the_same_rows([Values(31, 512, 1000, 1024, 1152, 1408)] int columns, [Values(0, 8)] int behind, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target)
    {
        if (GeneratedTileKernel.Shared is null || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX-512 VNNI and a system with the System V convention.");
        }

        // Two fours and three more.
        const int Rows = 11;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, target);
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        using ExecutableMemory bridge = Bridge(windows.Pointer + functions.Int4);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 3);
        using var data = new GuardedBuffer(weight.Data.Length + behind);
        weight.Data.CopyTo(data.Span);
        var matrix = new WeightMatrix(WeightFormat.Int4Group32, Rows, columns, data.Pointer, weight.Matrix.Scales);
        var expected = new float[Rows];
        var actual = new float[Rows];
        using QuantizedRows x = TileKernelTests.Rounded(1, columns, 4);
        fixed (float* y = expected)
        fixed (float* z = actual)
        {
            Int4Arguments arguments = new(matrix, 0, Rows, x.Row(0), z);
            ((delegate* unmanaged<Int4Arguments*, void>)bridge.Pointer)(&arguments);
            Int4Gemv.Multiply(InstructionSet.Scalar, weight.Matrix, 0, Rows, x.Row(0), y);
        }

        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void Code_for_windows_computes_the_same_rows_of_several_tokens([Values(31, 512, 1000, 1152)] int columns, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target)
    {
        if (GeneratedTileKernel.Shared is null || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX-512 VNNI and a system with the System V convention.");
        }

        const int Rows = 131;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, target);
        Assert.That(functions.Int4Tokens.Keys, Is.EquivalentTo(Int4TokensCode.Shapes));
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        Dictionary<Int4TokensShape, ExecutableMemory> bridges = functions.Int4Tokens.ToDictionary(f => f.Key, f => Bridge(windows.Pointer + f.Value));
        try
        {
            GeneratedCode bridged = functions with { Int4Tokens = bridges.ToDictionary(b => b.Key, b => (long)b.Value.Pointer - (long)windows.Pointer) };
            var products = new Int4TokensProducts(windows, bridged);
            using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 3);
            for (int tokens = 2; tokens <= (2 * Int4TokensCode.MostTokens) + 1; tokens++)
            {
                using QuantizedRows x = TileKernelTests.Rounded(tokens, columns, 4);
                var expected = new float[Rows];
                var actual = new float[Rows * tokens];
                fixed (float* y = expected)
                fixed (float* z = actual)
                {
                    products.Multiply(weight.Matrix, 0, Rows, [.. Enumerable.Range(0, tokens).Select(x.Row)], z, Rows, default, 0);
                    for (int t = 0; t < tokens; t++)
                    {
                        Int4Gemv.Multiply(InstructionSet.Scalar, weight.Matrix, 0, Rows, x.Row(t), y);
                        Assert.That(actual.AsSpan(t * Rows, Rows).ToArray(), Is.EqualTo(expected), $"token {t} of {tokens}");
                    }
                }
            }
        }
        finally
        {
            Array.ForEach([.. bridges.Values], b => b.Dispose());
        }
    }

    [Test]
    public void Code_for_windows_computes_the_same_products_of_BF16([Values(1, 2, 3, 4)] int tokens, [Values(31, 100, 1600)] int columns, [Values(0, 2, 4)] int offset, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target)
    {
        if (GeneratedTileKernel.Shared?.BFloat16Products is not { } products || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX512_BF16 and a system with the System V convention.");
            return;
        }

        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, target);
        Assert.That(functions.BFloat16Pairs, Has.Count.EqualTo(4));
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        foreach ((BFloat16Shape shape, long function) in functions.BFloat16.Where(f => f.Key.Tokens == tokens))
        {
            using ExecutableMemory bridge = Bridge(windows.Pointer + function);
            using var weight = new RandomMatrix(WeightFormat.BFloat16, shape.Rows, columns, 3);
            float[] x = [.. Enumerable.Range(0, tokens * columns).Select(i => (i % 13) - 6f)];
            using var rounded = new BFloat16Tiles(new TokenTiles(tokens));
            rounded.Resize(tokens, columns);
            using var sums = new AlignedBuffer<float>(16 * tokens * shape.Rows);

            // Rows a whole number of lines apart, as those of a quarter of a range: beside their beginning they are put together from lines.
            int rowBytes = (2 * columns / 256 * 256) + 256;
            using var weights = new AlignedBuffer<byte>((shape.Rows + 1) * rowBytes);
            for (int r = 0; r < shape.Rows; r++)
            {
                weight.Data.Slice(2 * r * columns, 2 * columns).CopyTo(new Span<byte>(weights.Pointer + offset + (r * rowBytes), 2 * columns));
            }

            fixed (float* source = x)
            {
                rounded.Write(0, source, columns);
            }

            // In two parts where that is done, with several tokens: the second goes on from the sums of the first.
            int vectors = columns / 32;
            using var singles = new AlignedBuffer<float>((vectors + 1) * tokens * BFloat16Widening.Columns);
            bool takesSingles = BFloat16Code.TakesSingles(shape, target);
            byte* activations = takesSingles ? (byte*)singles.Pointer : rounded.Tile(0);
            int vectorBytes = takesSingles ? 128 : 64;
            BFloat16Widening.Widen((ushort*)rounded.Tile(0), (columns + 31) / 32 * tokens, singles.Pointer);
            int cut = tokens > 1 ? vectors / 2 : 0;
            for (int part = cut > 0 ? 0 : 1; part < 2; part++)
            {
                (int begin, int end) = part == 0 ? (0, cut) : (cut, vectors);
                var arguments = new BFloat16Arguments
                {
                    Weights = weights.Pointer + offset + (64 * begin),
                    RowBytes = rowBytes,
                    X = activations + (begin * vectorBytes * tokens),
                    XEnd = activations + (end * vectorBytes * tokens),
                    RestMask = part == 0 ? 0 : (1UL << (columns % 32)) - 1,
                    Sums = sums.Pointer,
                    Continues = begin,
                };
                ((delegate* unmanaged<BFloat16Arguments*, void>)bridge.Pointer)(&arguments);
            }

            float[] expected = BFloat16ProductsTests.Multiply(products, weight.Matrix, x, tokens, 0, shape.Rows);
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.That(LaneSum.Fold(sums.Pointer + (16 * i)), Is.EqualTo(expected[i]), $"{shape}, {i}");
            }
        }
    }

    [Test]
    public void Code_for_windows_computes_the_same_sums_of_BF16_rows([Values(1, 2, 3, 4)] int tokens)
    {
        if (GeneratedTileKernel.Shared?.BFloat16Products is not { } products || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX512_BF16 and a system with the System V convention.");
            return;
        }

        const int Rows = 40;
        const int Columns = BFloat16PairsCode.Columns;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, CodeTarget.Current);
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        using ExecutableMemory bridge = Bridge(windows.Pointer + functions.BFloat16Pairs[tokens - 1]);
        using var weight = new RandomMatrix(WeightFormat.BFloat16, Rows, Columns, 3);
        using var pairs = new BFloat16Pairs();
        pairs.Set(weight.Matrix.Data, weight.Matrix.RowBytes, Rows, Columns, null);
        ushort[] factors = [.. Enumerable.Range(0, tokens * BFloat16PairsCode.Rows).Select(i => BFloat16.FromSingle((i % 17) - 8))];
        var expected = new float[tokens * Columns];
        var actual = new float[tokens * Columns];
        fixed (ushort* f = factors)
        fixed (float* y = expected)
        fixed (float* z = actual)
        {
            products.Accumulate(pairs, f, tokens, y, Columns);
            var arguments = new BFloat16PairsArguments { Pairs = pairs.Block(0), PairCount = pairs.PairCount, Factors = f, PairFactorsBytes = 4, TokenFactorsBytes = 2 * BFloat16PairsCode.Rows, Sums = z, SumsStrideBytes = 4 * Columns, Tiles = 1 };
            ((delegate* unmanaged<BFloat16PairsArguments*, void>)bridge.Pointer)(&arguments);
        }

        Assert.That(actual, Is.EqualTo(expected));

        // Twice as many tokens, one tile after the other, whose factors lie side by side.
        ushort[] lanes = [.. Enumerable.Range(0, BFloat16PairsCode.Rows * BFloat16ScoresCode.Lanes).Select(i => BFloat16.FromSingle((i % 19) - 9))];
        expected = new float[2 * tokens * Columns];
        actual = new float[2 * tokens * Columns];
        fixed (ushort* f = lanes)
        fixed (float* y = expected)
        fixed (float* z = actual)
        {
            products.AccumulateLanes(pairs, f, 2 * tokens, y, Columns, null, 0);
            var arguments = new BFloat16PairsArguments { Pairs = pairs.Block(0), PairCount = pairs.PairCount, Factors = f, PairFactorsBytes = 4 * BFloat16ScoresCode.Lanes, TokenFactorsBytes = 4, Sums = z, SumsStrideBytes = 4 * Columns, Tiles = 2 };
            ((delegate* unmanaged<BFloat16PairsArguments*, void>)bridge.Pointer)(&arguments);
        }

        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void Code_for_windows_computes_the_same_sums_of_BF16_rows_of_one_token([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target)
    {
        if (GeneratedTileKernel.Shared?.BFloat16Products is not { } products || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX512_BF16 and a system with the System V convention.");
            return;
        }

        const int Rows = 16;
        const int Columns = BFloat16RowSumCode.LineColumns * 2;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, target);
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        using ExecutableMemory bridge = Bridge(windows.Pointer + functions.BFloat16RowSum);
        using var weight = new RandomMatrix(WeightFormat.BFloat16, Rows, Columns, 3);
        using var data = new AlignedBuffer<byte>(weight.Data.Length);
        using var sums = new AlignedBuffer<float>(Columns);
        weight.Data.CopyTo(new Span<byte>(data.Pointer, weight.Data.Length));
        ushort[] factors = [.. Enumerable.Range(0, Rows).Select(i => BFloat16.FromSingle((i % 17) - 8))];
        var expected = new float[Columns];
        var matrix = new WeightMatrix(WeightFormat.BFloat16, Rows, Columns, data.Pointer, null);
        new Span<float>(sums.Pointer, Columns).Clear();
        fixed (ushort* f = factors)
        fixed (float* y = expected)
        {
            products.SumRows(matrix, f, null, y);
            var arguments = new BFloat16RowSumArguments
            {
                Lines = data.Pointer,
                RowBytes = matrix.RowBytes,
                Blocks = Rows / BFloat16RowSumCode.Rows,
                Factors = f,
                Sums = sums.Pointer,
                SumsEnd = sums.Pointer + Columns,
            };
            ((delegate* unmanaged<BFloat16RowSumArguments*, void>)bridge.Pointer)(&arguments);
        }

        // Four columns of the first half of a line's pairs, then four of the second.
        int At(int column) => (column / 32 * 32) + (column / 4 % 2 * 16) + (column % 32 / 8 * 4) + (column % 4);
        Assert.That(Enumerable.Range(0, Columns).Select(c => sums.Pointer[At(c)]), Is.EqualTo(expected));
    }

    [Test]
    public void Code_for_windows_computes_the_same_products_of_FP8([Values(63, 64, 200)] int columns, [Values(1, 4)] int rows, [Values(0, 1, 4, 8)] int offset, [Values] bool normal, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target)
    {
        if (GeneratedTileKernel.Shared?.Float8Products is null || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX512_VBMI, AVX512_BF16 and a system with the System V convention.");
            return;
        }

        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, target);
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        using ExecutableMemory bridge = Bridge(windows.Pointer + (rows == 1 ? functions.Float8OneRow : functions.Float8Rows));
        using ExecutableMemory activations = Bridge(windows.Pointer + functions.Float8Activations);
        using var weight = new RandomMatrix(WeightFormat.Float8Block, rows, columns, 3, block: 256);
        if (normal)
        {
            Float8BitsTests.MakeNormal(weight);
        }

        int steps = (columns + Float8Codes.StepColumns - 1) / Float8Codes.StepColumns;
        float[] x = new float[steps * Float8Codes.StepColumns];
        for (int c = 0; c < columns; c++)
        {
            x[c] = MathF.Cos(c);
        }

        // Rows a whole number of lines apart: beside their beginning, or one odd, they are put together from lines.
        const int RowBytes = 256;
        using var weights = new AlignedBuffer<byte>((rows + 1) * RowBytes);
        for (int r = 0; r < rows; r++)
        {
            weight.Data.Slice(r * columns, columns).CopyTo(new Span<byte>(weights.Pointer + offset + (r * RowBytes), columns));
        }

        using var rounded = new AlignedBuffer<ushort>(x.Length);
        using var sums = new AlignedBuffer<float>(16 * rows);
        fixed (float* source = x)
        {
            var toRound = new Float8ActivationsArguments { X = source, Scales = weight.Matrix.Scales, Blocks = 1, StepsOfBlock = steps, Target = (byte*)rounded.Pointer, TargetStride = 64 };
            ((delegate* unmanaged<Float8ActivationsArguments*, void>)activations.Pointer)(&toRound);
        }

        var arguments = new Float8Arguments
        {
            Weights = weights.Pointer + offset,
            RowBytes = RowBytes,
            X = (byte*)rounded.Pointer,
            XEnd = (byte*)(rounded.Pointer + (columns / 64 * 64)),
            RestMask = (1UL << (columns % 64)) - 1,
            Sums = sums.Pointer,
            Tables = Float8Codes.Tables,
        };
        ((delegate* unmanaged<Float8Arguments*, void>)bridge.Pointer)(&arguments);
        for (int r = 0; r < rows; r++)
        {
            Assert.That(LaneSum.Fold(sums.Pointer + (16 * r)), Is.EqualTo(Float8ProductsTests.Definition(weight, r, x.AsSpan(0, columns))), $"row {r}");
        }
    }

    [Test]
    public void Generated_code_can_be_switched_off() =>
        Assert.That(TileKernel.Best(allowGeneratedCode: false).Kind, Is.Not.EqualTo(TileKernelKind.GeneratedAvx512Vnni));

    internal static ExecutableMemory Bridge(byte* target)
    {
        var assembler = new Assembler(64);
        assembler.sub(rsp, 56);
        assembler.mov(__qword_ptr[rsp + 32], r8);
        assembler.mov(r9, rcx);
        assembler.mov(r8, rdx);
        assembler.mov(rdx, rsi);
        assembler.mov(rcx, rdi);
        assembler.mov(rax, (ulong)target);
        assembler.call(rax);
        assembler.add(rsp, 56);
        assembler.ret();
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), 0);
        return ExecutableMemory.TryCreate(stream.ToArray())!;
    }
}
