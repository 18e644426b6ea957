// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda;

/// <summary>
/// The GPU that tests of the category <see cref="Category"/> run on: the simulated one; or, where the environment has
/// <c>KIMICPU_TEST_GPU=1</c>, the machine's first one.
/// </summary>
internal sealed class GpuUnderTest : IDisposable
{
    /// <summary>Tests that a real GPU can run too; all others are about the simulated driver.</summary>
    public const string Category = "Gpu";

    /// <param name="totalBytes">Memory of the GPU; null for what a simulated one has, and for the GPU that the test has already.</param>
    public GpuUnderTest(long? totalBytes = null)
    {
        Simulated = IsReal ? null : totalBytes is { } bytes ? new SimulatedDriver { TotalBytes = bytes } : SimulatedDriver.Join() ?? new SimulatedDriver();
        Table = Simulated?.Table ?? SharedGpu.Table(totalBytes ?? SimulatedDriver.DefaultBytes);
    }

    private GpuUnderTest(SimulatedDriver simulated) => (Simulated, Table) = (simulated, simulated.Table);

    public static bool IsReal { get; } = Environment.GetEnvironmentVariable("KIMICPU_TEST_GPU") == "1";

    /// <summary>Null where the GPU is a real one.</summary>
    public SimulatedDriver? Simulated { get; }

    public DriverTable Table { get; }

    /// <summary>What the interpreter has found wrong; null for nothing. Of a real GPU nobody knows.</summary>
    public string? Fault => Simulated?.Fault;

    /// <summary>For tests that are about the simulated driver, which stays theirs.</summary>
    public static implicit operator GpuUnderTest(SimulatedDriver driver) => new(driver);

    /// <summary>How often kernels whose names begin so were put into a stream or a graph; null where nobody counts.</summary>
    public int? Launches(string kernel) => Simulated?.LaunchesOf.Where(k => k.Key.StartsWith(kernel, StringComparison.Ordinal)).Sum(k => k.Value);

    public void Dispose() => Simulated?.Dispose();
}
