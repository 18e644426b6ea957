// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>Measures a GPU: each kernel at the sizes of Kimi K2 beside the memory's bandwidth, the way to the host and back, and a whole step.</summary>
internal static class GpuBench
{
    /// <param name="driver">The driver's functions.</param>
    /// <param name="ordinal">Which GPU.</param>
    /// <param name="sizes">What is measured.</param>
    /// <param name="progress">Told what is being measured.</param>
    /// <param name="cancellationToken">Ends it between kernels.</param>
    /// <exception cref="CudaException">There is no such GPU, it cannot be used, or a call failed.</exception>
    public static GpuBenchResult Run(in DriverTable driver, int ordinal, GpuBenchSizes sizes, Action<string> progress, CancellationToken cancellationToken)
    {
        using var context = new CudaContext(driver, ordinal);
        using var stream = new CudaStream(context);
        progress("translating");
        using var kernels = new KernelSet(context);
        using var timer = new GpuTimer(context, stream);
        using var bandwidth = new GpuBandwidth(context, stream, timer, sizes.Repetitions);
        var decode = new List<GpuKernelResult>();
        var prompts = new List<GpuKernelResult>();
        double read;
        double copy;
        GpuRoundTripResult roundTrip;
        using (var bed = new GpuTestBed(context, stream, kernels, timer, bandwidth, sizes, cancellationToken))
        {
            long start = Stopwatch.GetTimestamp();
            do
            {
                read = bed.ReadBandwidth();
            }
            while (Stopwatch.GetElapsedTime(start) < sizes.WarmUp);
            copy = bed.CopyBandwidth();
            Collect(new GpuDecodeKernels(bed).Measure(), decode);
            Collect(new GpuPromptKernels(bed).Measure(), prompts);
            progress("round trips");
            using var trip = new GpuRoundTrip(bed);
            roundTrip = trip.Measure(timer, cancellationToken);
        }

        GpuStepResult? step = null;
        if (GpuDecodeStep.LayersThatFit(sizes, FreeBytes(context)) is > 0 and int layers)
        {
            progress("whole steps");
            using var whole = new GpuDecodeStep(context, stream, kernels, sizes, layers);
            step = whole.Measure(timer, bandwidth, cancellationToken);
        }

        string facts = $"GPU {context.Ordinal}: {context.Name}, compute capability {context.ComputeCapability.Major}.{context.ComputeCapability.Minor}, {context.MultiprocessorCount} multiprocessors, CUDA {CudaContext.VersionText(context.DriverVersion)}";
        GpuTranslation[] translations = [.. kernels.All.Select(k => new GpuTranslation(k.Name, k.Threads, k.Registers, k.LocalBytes))];
        return new GpuBenchResult(facts, read, copy, decode, prompts, roundTrip, step, translations);

        void Collect(IEnumerable<GpuKernelResult> measured, List<GpuKernelResult> results)
        {
            foreach (GpuKernelResult result in measured)
            {
                results.Add(result);
                progress(result.Kernel);
            }
        }
    }

    /// <summary>Bytes that what is measured may take, as when a model is opened.</summary>
    internal static long FreeBytes(CudaContext context) => context.FreeBytes(() => ProcessMemory.Now().AvailableBytes);
}
