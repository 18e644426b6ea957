// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;

namespace KimiCpu.Cuda.HotPath;

/// <summary>How the hot path runs on a GPU.</summary>
internal sealed record CudaHotPathOptions
{
    /// <summary>Whether passes of a few rows replay recorded launches.</summary>
    public bool UseGraphs { get; init; } = true;

    /// <summary>Fewest rows of a pass that go to the kernels for many.</summary>
    public int ManyRows { get; init; } = LinearProgram.DefaultManyRows;

    /// <summary>How long the GPU may take for what is waited for, before it counts as lost.</summary>
    public TimeSpan Patience { get; init; } = CudaContext.DefaultPatience;

    /// <summary>Whether the driver keeps launches until it is asked about them, and charges page-locked memory to the GPU; see <see cref="CudaStream.DriverCollects"/>.</summary>
    public bool DriverCollects { get; init; } = CudaStream.DriverCollects;

    /// <summary>Decides which routed experts the GPU holds, where its plan has room for any.</summary>
    public IExpertPlacement? Placement { get; init; }

    /// <summary>Where a store reads the experts from; null where they are used in the mapping.</summary>
    public ExpertFiles? ExpertFiles { get; init; }

    /// <summary>How long drives may be silent while experts from files are put on the GPU; as long as in a step.</summary>
    public TimeSpan DrivePatience { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Decides how many experts are streamed in prompts, where the plan has a ring; null for the measured one.</summary>
    public IStreamSplit? StreamSplit { get; init; }

    /// <summary>Bytes of main memory that the process may take, for a GPU that has none of its own; null where nobody knows.</summary>
    public Func<long>? SystemBytes { get; init; }

    /// <summary>Told what is given up where the GPU is used with less than was wanted.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>Told while those are copied, as <see cref="Progress"/> is.</summary>
    public Action<int, int>? ExpertProgress { get; init; }

    /// <summary>Told while weights are copied: done, in all. An exception from here stops the opening.</summary>
    public Action<int, int>? Progress { get; init; }
}
