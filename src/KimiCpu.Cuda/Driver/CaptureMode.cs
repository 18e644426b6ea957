// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>
/// How recordings of graphs and calls that no graph can hold, such as those that allocate or ask for an event, concern each other: the driver's
/// numbers, for a recording and for what a thread calls beside others'. With the one it begins with a thread's call fails while any other records so, and breaks that recording.
/// </summary>
internal enum CaptureMode
{
    /// <summary>All threads: what a recording and a thread have unless they ask for another one.</summary>
    Global = 0,

    /// <summary>A thread by itself: neither do calls of others break its recordings nor its calls theirs.</summary>
    ThreadLocal = 1,
}
