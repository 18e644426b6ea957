// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Cpu;

/// <summary>
/// Runs the kernel and model tests again in child processes in which the runtime pretends to have a smaller CPU, all but those of GPUs. The
/// child proves that the level is really off: older switches such as EnableAVX512F are silently ignored by .NET 10.
/// </summary>
[TestFixture]
internal sealed class IsaMatrixTests
{
    private const string ExpectedBest = "KIMICPU_TEST_EXPECTED_BEST";
    private const string DotProductSwitch = "DOTNET_EnableArm64Dp";

    /// <summary>What turns off a level of this architecture, and the best that is left.</summary>
    private static IEnumerable<object[]> Levels
    {
        get
        {
            if (X86Base.IsSupported)
            {
                yield return ["DOTNET_EnableAVX512", InstructionSet.Avx2];
                yield return ["DOTNET_EnableAVX2", InstructionSet.Vector128];
            }

            if (Dp.IsSupported)
            {
                yield return [DotProductSwitch, InstructionSet.Vector128];
            }

            yield return ["DOTNET_EnableHWIntrinsic", InstructionSet.Scalar];
        }
    }

    [TestCaseSource(nameof(Levels))]
    [CancelAfter(240_000)]
    public async Task Kernels_pass_on_a_smaller_cpu(string turnedOff, InstructionSet best, CancellationToken cancellationToken)
    {
        if (CpuFeatures.Best <= best || Environment.GetEnvironmentVariable(ExpectedBest) is not null)
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
        start.Environment[turnedOff] = "0";
        start.Environment[ExpectedBest] = best.ToString();
        using Process child = Process.Start(start)!;
        try
        {
            Task<string> error = child.StandardError.ReadToEndAsync(cancellationToken);
            string output = await child.StandardOutput.ReadToEndAsync(cancellationToken);
            await child.WaitForExitAsync(cancellationToken);
            Assert.That(child.ExitCode, Is.Zero, output[^Math.Min(output.Length, 4000)..] + await error);
            Assert.That(output, Does.Contain("The_level_is_really_off").Or.Match(@"succeeded: \d{2,}"));
        }
        finally
        {
            child.Kill(entireProcessTree: true);
        }
    }

    [Test]
    [Category("Kernels")]
    public void The_level_is_really_off()
    {
        if (Environment.GetEnvironmentVariable(ExpectedBest) is { } expected)
        {
            Assert.That(CpuFeatures.Best.ToString(), Is.EqualTo(expected));
            Assert.That(Dp.IsSupported && Environment.GetEnvironmentVariable(DotProductSwitch) == "0", Is.False);
        }
    }
}
