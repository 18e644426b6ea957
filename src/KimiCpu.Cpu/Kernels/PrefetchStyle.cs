// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Kernels;

/// <summary>How kernels that stream weights from memory ask for what comes next.</summary>
internal enum PrefetchStyle
{
    /// <summary>Each cache line by itself, into the second-level cache.</summary>
    EveryLine,

    /// <summary>
    /// Each line twice: into the second-level cache, and nearer by once more into the first, where it then waits for nothing: the hardware of the first level asks too
    /// late, and each load that waits keeps the ones behind it from starting.
    /// </summary>
    EveryLineTwice,

    /// <summary>
    /// One line of each page, of a single stream: the hardware follows the rest by itself, through buffers that software's requests do not
    /// have; asking for each line takes the first level's few miss buffers and stops it. Of several streams each line, not far ahead, into
    /// the first level, from where no request is dropped.
    /// </summary>
    EveryPage,
}
