// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.HotPath;

/// <summary>The launches of a layer that no turn of the CPU parts.</summary>
internal enum SegmentKind
{
    Attend,
    Shared,
    Finish,
}

/// <summary>What is recorded together.</summary>
/// <param name="Kind">Which part of the layer.</param>
/// <param name="Layer">Of the model.</param>
/// <param name="Rows">Of the pass.</param>
/// <param name="Splits">Of the cache; 0 where the launches do not depend on them.</param>
internal readonly record struct Segment(SegmentKind Kind, int Layer, int Rows, int Splits);
