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
[Category("Kernels")]
internal sealed unsafe class TileCodeTests
{
    private static readonly CallingConvention[] s_conventions = [CallingConvention.SystemV, CallingConvention.WindowsX64];

    /// <summary>Without stack use and saved registers a function needs no unwind information on either system.</summary>
    [Test]
    public void Code_writes_only_registers_that_belong_to_it_and_no_stack([ValueSource(nameof(s_conventions))] CallingConvention convention)
    {
        GeneratedCode functions = GeneratedCode.Assemble(convention);
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

        Assert.That(returns, Is.EqualTo(functions.Tiles.Count + 1));
    }

    /// <summary>Runs the Windows functions here through a bridge between the conventions, and compares with the scalar kernel.</summary>
    [Test]
    public void Code_for_windows_computes_the_same_bits()
    {
        if (GeneratedTileKernel.Shared is null || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX-512 VNNI and a system with the System V convention.");
        }

        const int Columns = 1000;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64);
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
            for (int t = 0; t < tokens; t++)
            {
                tiles.Write(rows.Row(t), 0, tokens, t, Int4Group32.Bias);
            }

            var function = (delegate* unmanaged<byte*, byte*, float*, long, byte*, void>)bridge.Pointer;
            function(tile.Pointer, tiles.Tile(0), lanes.Pointer, tiles.Blocks, tile.Pointer);
            var actual = new float[tokens * WeightTile.Rows];
            fixed (float* y = actual)
            {
                TileFold.Fold(lanes.Pointer, tokens, y, WeightTile.Rows);
            }

            float[] expected = tokens <= 4
                ? TileKernelTests.Multiply(TileKernel.Of(TileKernelKind.Scalar), tile.Pointer, false, Columns, rows, tokens)
                : TileKernelTests.Multiply(TileKernel.Of(TileKernelKind.GeneratedAvx512Vnni), tile.Pointer, false, Columns, rows, tokens);
            Assert.That(actual, Is.EqualTo(expected), $"{tokens} tokens");
        }
    }

    [Test]
    public void Code_for_windows_computes_the_same_rows([Values(31, 512, 1000, 1024)] int columns)
    {
        if (GeneratedTileKernel.Shared is null || OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs AVX-512 VNNI and a system with the System V convention.");
        }

        const int Rows = 5;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64);
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        using ExecutableMemory bridge = Bridge(windows.Pointer + functions.Int4Rows);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 3);
        using QuantizedRows rows = TileKernelTests.Rounded(1, columns, 4);
        var expected = new float[Rows];
        var actual = new float[Rows];
        fixed (float* y = expected)
        fixed (float* z = actual)
        {
            Int4Gemv.Multiply(InstructionSet.Scalar, weight.Matrix, 0, Rows, rows.Row(0), y);
            var arguments = new Int4RowsArguments(weight.Matrix, 0, Rows, rows.Row(0), z);
            ((delegate* unmanaged<Int4RowsArguments*, void>)bridge.Pointer)(&arguments);
        }

        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void Generated_code_can_be_switched_off() =>
        Assert.That(TileKernel.Best(allowGeneratedCode: false).Kind, Is.Not.EqualTo(TileKernelKind.GeneratedAvx512Vnni));

    private static ExecutableMemory Bridge(byte* target)
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
