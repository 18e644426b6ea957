// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Tiles;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Cpu;

/// <summary>
/// Runs the kernel and model tests again in child processes in which the runtime pretends to have a smaller CPU, or one that it prefers narrower vectors
/// for, all but those of GPUs. The child proves that the level is really off: older switches such as EnableAVX512F are silently ignored by .NET 10.
/// One child at a time, beside other tests of this process, with which it shares nothing but the machine: to it goes a third of the whole run.
/// </summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class IsaMatrixTests
{
    private const string ExpectedBest = "KIMICPU_TEST_EXPECTED_BEST";
    private const string ExpectedKernel = "KIMICPU_TEST_EXPECTED_KERNEL";
    private const string SeenFile = "KIMICPU_TEST_SEEN_FILE";
    private const string Avx512Switch = "DOTNET_EnableAVX512";
    private const string AvxVnniSwitch = "DOTNET_EnableAVXVNNI";
    private const string DotProductSwitch = "DOTNET_EnableArm64Dp";
    private const string PreferredWidth = "DOTNET_PreferredVectorBitWidth";
    private const string Narrower = "256";

    /// <summary>What turns off a level of this architecture, the best that is left, and whether this process has what is turned off.</summary>
    private static IEnumerable<object[]> Levels
    {
        get
        {
            if (X86Base.IsSupported)
            {
                // Where 256 bits are preferred, kernels for AVX-512 VNNI are taken all the same: none of this process has AVX2 tiles.
                yield return [new[] { Avx512Switch }, InstructionSet.Avx2, CpuFeatures.Best > InstructionSet.Avx2 || CpuFeatures.HasAvx512Vnni];
                yield return [new[] { Avx512Switch, AvxVnniSwitch }, InstructionSet.Avx2, AvxVnni.IsSupported];
                yield return [new[] { "DOTNET_EnableAVX2" }, InstructionSet.Vector128, CpuFeatures.Best > InstructionSet.Vector128];
            }

            if (AdvSimd.IsSupported)
            {
                yield return [new[] { DotProductSwitch }, InstructionSet.Vector128, Dp.IsSupported];
            }

            yield return [new[] { "DOTNET_EnableHWIntrinsic" }, InstructionSet.Scalar, CpuFeatures.Best > InstructionSet.Scalar];
        }
    }

    [TestCaseSource(nameof(Levels))]
    [CancelAfter(480_000)]
    public Task Kernels_pass_on_a_smaller_cpu(string[] turnedOff, InstructionSet best, bool isOn, CancellationToken cancellationToken) =>
        RunKernels(turnedOff.ToDictionary(name => name, _ => "0"), best, isOn, cancellationToken);

    /// <summary>As on Cascade Lake and Cooper Lake: AVX-512 is there, and .NET says that 256 bits are better. The kernels that are written for AVX-512 VNNI are taken all the same.</summary>
    [Test]
    [CancelAfter(480_000)]
    public Task Kernels_pass_where_narrower_vectors_are_preferred(CancellationToken cancellationToken)
    {
        Dictionary<string, string> settings = new() { [PreferredWidth] = Narrower };
        if (TileKernel.IsSupported(TileKernelKind.GeneratedAvx512Vnni))
        {
            settings[ExpectedKernel] = TileKernelKind.GeneratedAvx512Vnni.ToString();
        }

        return RunKernels(settings, InstructionSet.Avx2, CpuFeatures.Best == InstructionSet.Avx512, cancellationToken);
    }

    [Test]
    [Category("Kernels")]
    public void The_level_is_really_off()
    {
        if (Environment.GetEnvironmentVariable(ExpectedBest) is { } expected)
        {
            Assert.That(CpuFeatures.Best.ToString(), Is.EqualTo(expected));
            Assert.That(Dp.IsSupported && Environment.GetEnvironmentVariable(DotProductSwitch) == "0", Is.False);
            Assert.That(AvxVnni.IsSupported && Environment.GetEnvironmentVariable(AvxVnniSwitch) == "0", Is.False);
        }

        if (Environment.GetEnvironmentVariable(ExpectedBest) is not null && Environment.GetEnvironmentVariable(PreferredWidth) == Narrower)
        {
            Assert.That(Avx512BW.IsSupported && !Vector512.IsHardwareAccelerated);
        }

        if (Environment.GetEnvironmentVariable(ExpectedKernel) is { } kernel)
        {
            Assert.That(TileKernel.Best().Kind.ToString(), Is.EqualTo(kernel));
            Assert.That(CpuFeatures.Description, Does.Contain("AVX-512 VNNI"));
        }

        if (Environment.GetEnvironmentVariable(SeenFile) is { } file)
        {
            File.WriteAllText(file, CpuFeatures.Best.ToString());
        }
    }

    private static async Task RunKernels(Dictionary<string, string> settings, InstructionSet best, bool isOn, CancellationToken cancellationToken)
    {
        if (!isOn || Environment.GetEnvironmentVariable(ExpectedBest) is not null)
        {
            Assert.Ignore($"This process has {CpuFeatures.Best} and tests that itself; what needs more to be turned off is tested on a larger CPU.");
        }

        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath!) == "dotnet")
        {
            start.ArgumentList.Add(typeof(IsaMatrixTests).Assembly.Location);
        }

        start.ArgumentList.Add("--filter");
        start.ArgumentList.Add($"TestCategory=Kernels&TestCategory!={GpuUnderTest.Category}");
        start.Environment.Remove(PreferredWidth);
        foreach ((string name, string value) in settings)
        {
            start.Environment[name] = value;
        }

        start.Environment[ExpectedBest] = best.ToString();
        string seen = Path.GetTempFileName();
        start.Environment[SeenFile] = seen;
        using Process child = Process.Start(start)!;
        try
        {
            Task<string> error = child.StandardError.ReadToEndAsync(cancellationToken);
            string output = await child.StandardOutput.ReadToEndAsync(cancellationToken);
            await child.WaitForExitAsync(cancellationToken);
            Assert.That(child.ExitCode, Is.Zero, output[^Math.Min(output.Length, 4000)..] + await error);
            Assert.That(output, Does.Match(@"succeeded: \d{2,}"));
            Assert.That(await File.ReadAllTextAsync(seen, cancellationToken), Is.EqualTo(best.ToString()), "the child has looked");
        }
        finally
        {
            child.Kill(entireProcessTree: true);
            File.Delete(seen);
        }
    }
}
