// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Kernels;

/// <summary>LinearArguments of Kernels/linear.cu, where every field is explained.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LinearArguments
{
    public DeviceMatrix First;
    public DeviceMatrix Second;
    public ulong FirstOutput;
    public ulong SecondOutput;
    public ulong Input;
    public ulong Aside;
    public ulong RowMap;
    public uint Batch;
    public LinearInput Mode;
    public LinearOutput Output;
    public float Epsilon;
}

/// <summary>SplitArguments of Kernels/split.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SplitArguments
{
    public ulong Input;
    public ulong Aside;
    public ulong Parts;
    public uint Columns;
    public uint Stride;
    public LinearInput Mode;
    public uint ForBytes;
    public float Epsilon;
    private readonly uint _padding;
}

/// <summary>GemmArguments of Kernels/gemm.cu, where every field is explained.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GemmArguments
{
    public DeviceMatrix First;
    public DeviceMatrix Second;
    public ulong FirstOutput;
    public ulong SecondOutput;
    public ulong Input;
    public uint Batch;
    public uint Stride;
    public uint Accumulate;
    public uint Heads;
    public uint HeadRows;
    public uint HeadBegin;
    public uint HeadStep;
    private readonly uint _padding;
}

/// <summary>GatherArguments of Kernels/latents.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GatherArguments
{
    public CacheArguments Cache;
    public ulong Latents;
    public uint First;
    public uint Tokens;
    public uint ForBytes;
    private readonly uint _padding;
}

/// <summary>AttendExpandedArguments of Kernels/mla_expanded.cu, where every field is explained.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttendExpandedArguments
{
    public CacheArguments Cache;
    public ulong Expanded;
    public ulong Query;
    public ulong Values;
    public ulong State;
    public uint Heads;
    public uint Batch;
    public uint Begin;
    public uint End;
    public float Scale;
    private readonly uint _padding;
}

/// <summary>What a linear layer makes of its input before multiplying.</summary>
internal enum LinearInput : uint
{
    Plain = 0,

    /// <summary>x / rms(x) * gain.</summary>
    Normalized = 1,

    /// <summary>silu(x) * up.</summary>
    Gated = 2,
}

/// <summary>What becomes of a linear layer's output.</summary>
internal enum LinearOutput : uint
{
    Stored = 0,

    /// <summary>Added to what is there.</summary>
    Added = 1,

    /// <summary>Of two weights, silu(first) * second in the first one's place; for weights that <see cref="KernelSet.SuitsGate"/>.</summary>
    Gated = 2,
}

/// <summary>Cache of Kernels/cache.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CacheArguments
{
    public ulong Layer;
    public ulong Lengths;
    public ulong Tables;
    public ulong Pages;
    public ulong PageBytes;
    public uint Latent;
    public uint Rope;
}

/// <summary>RopeArguments of Kernels/attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RopeArguments
{
    public CacheArguments Cache;
    public ulong Query;
    public ulong Latent;
    public ulong Gain;
    public ulong Rotations;
    public uint Heads;
    public uint Nope;
    public float Epsilon;
    private readonly uint _padding;
}

/// <summary>AbsorbArguments of Kernels/attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AbsorbArguments
{
    public DeviceMatrix Expansion;
    public ulong Query;
    public ulong Absorbed;
    public uint Nope;
    public uint Rope;
    public uint Value;
    public uint Batch;
    public float Scale;
    private readonly uint _padding;
}

/// <summary>AttendArguments of Kernels/cache.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttendArguments
{
    public CacheArguments Cache;
    public ulong Absorbed;
    public ulong Partial;
    public ulong LogSums;
    public uint Heads;
    public uint MostSplits;
}

/// <summary>AttendRowsArguments of Kernels/mla_rows.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttendRowsArguments
{
    public CacheArguments Cache;
    public ulong Absorbed;
    public ulong Attended;
    public uint Heads;
    public uint ForBytes;
}

/// <summary>ExpandArguments of Kernels/attention.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpandArguments
{
    public DeviceMatrix Expansion;
    public ulong Partial;
    public ulong LogSums;
    public ulong Lengths;
    public ulong Values;
    public uint Nope;
    public uint Value;
    public uint MostSplits;
    private readonly uint _padding;
}

/// <summary>RouteArguments of Kernels/router.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RouteArguments
{
    public ulong Residual;
    public ulong Gain;
    public ulong Logits;
    public ulong Bias;
    public ulong Hidden;
    public ulong Ids;
    public ulong Weights;
    public ulong Flag;
    public ulong FlagBase;
    public ulong Finished;
    public ulong NextLogits;
    public ulong NextBias;
    public ulong Predicted;
    public uint Size;
    public uint Experts;
    public uint Chosen;
    public uint Groups;
    public uint GroupsChosen;
    public uint Normalize;
    public uint Layer;
    public float Epsilon;
    public float Factor;
    private readonly uint _padding;
}

/// <summary>FinishArguments of Kernels/residual.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FinishArguments
{
    public ulong Residual;
    public ulong Routed;
    public ulong SharedOutput;
    public ulong NotFinite;
    public uint Size;
    public uint Layer;
}

/// <summary>ExpertSlots of Kernels/experts.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertSlotsArguments
{
    public ulong Data;
    public ulong SlotBytes;
    public uint GateScales;
    public uint Up;
    public uint UpScales;
    public uint Down;
    public uint DownScales;
    private readonly uint _padding;
}

/// <summary>ExpertRoundArguments of Kernels/experts.cu, where every field is explained.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertRoundArguments
{
    public ulong Residual;
    public ulong Gain;
    public ulong Ids;
    public ulong Weights;
    public ulong SlotOf;
    public ulong Slots;
    public ulong SlotWeights;
    public ulong Rounded;
    public uint Size;
    public uint Chosen;
    public float Epsilon;
    private readonly uint _padding;
}

/// <summary>ExpertGateUpArguments of Kernels/experts.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertGateUpArguments
{
    public ExpertSlotsArguments Experts;
    public ulong Slots;
    public ulong Rounded;
    public ulong Inner;
    public uint Pairs;
    public uint Chosen;
    public uint Size;
    public uint InnerSize;
}

/// <summary>ExpertGemmRoundArguments of Kernels/expert_gemm.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertGemmRoundArguments
{
    public ulong Residual;
    public ulong Gain;
    public ulong Rounded;
    public uint Size;
    public float Epsilon;
}

/// <summary>ExpertGemmGateUpArguments of Kernels/expert_gemm.cu, where every field is explained.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertGemmGateUpArguments
{
    public ExpertSlotsArguments Expert;
    public ulong Tokens;
    public ulong Rounded;
    public ulong Inner;
    public uint Count;
    public uint Size;
    public uint InnerSize;
    private readonly uint _padding;
}

/// <summary>ExpertGemmDownArguments of Kernels/expert_gemm.cu, where every field is explained.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertGemmDownArguments
{
    public ExpertSlotsArguments Expert;
    public ulong Tokens;
    public ulong Weights;
    public ulong Inner;
    public ulong Output;
    public uint Count;
    public uint Size;
    public uint InnerSize;
    private readonly uint _padding;
}

/// <summary>ExpertDownArguments of Kernels/experts.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ExpertDownArguments
{
    public ExpertSlotsArguments Experts;
    public ulong Slots;
    public ulong SlotWeights;
    public ulong Inner;
    public ulong Output;
    public uint Chosen;
    public uint Size;
    public uint InnerSize;
    public uint Accumulate;
}

/// <summary>WarmArguments of Kernels/warm.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct WarmArguments
{
    public ulong Data;
    public uint Bytes;
    private readonly uint _padding;
}
