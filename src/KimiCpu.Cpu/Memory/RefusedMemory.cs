// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>Says what the system has where it refuses memory.</summary>
internal static class RefusedMemory
{
    /// <param name="bytes">That it refuses.</param>
    /// <param name="purpose">What for, with a space before it; empty where nobody knows.</param>
    /// <param name="options">That ask for less.</param>
    /// <param name="cause">The refusal.</param>
    public static InsufficientMemoryException Of(nuint bytes, string purpose, string options, OutOfMemoryException cause)
    {
        ProcessMemory memory = ProcessMemory.Now();
        return new InsufficientMemoryException(
            FormattableString.Invariant($"The system refuses {bytes / 1e9:F1} GB of memory{purpose}: there are {memory.TotalBytes / 1e9:F1} GB, {memory.AvailableBytes / 1e9:F1} of them available. Ask for less ({options})."), cause);
    }
}
