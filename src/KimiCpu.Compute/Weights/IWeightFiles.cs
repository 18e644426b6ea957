// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>The files of a checkpoint as things to read from, past the page cache where the system allows. Safe for several threads.</summary>
internal unsafe interface IWeightFiles : IDisposable
{
    /// <summary>Offsets, targets and lengths of reads are multiples of it.</summary>
    const int Alignment = 4096;

    int Count { get; }

    /// <summary>A number that files on the same drive share, counted from 0.</summary>
    int DriveOf(int file);

    /// <summary>Reads bytes of a file; less than <paramref name="count"/> only where the file ends.</summary>
    /// <param name="file">0 … <see cref="Count"/> - 1.</param>
    /// <param name="offset">A multiple of <see cref="Alignment"/>.</param>
    /// <param name="target">Aligned; room for <paramref name="count"/> bytes.</param>
    /// <param name="count">A multiple of <see cref="Alignment"/>.</param>
    /// <exception cref="IOException">The drive fails, or the file was changed or cut since it was opened.</exception>
    void Read(int file, long offset, byte* target, int count);

    /// <summary>The exception that tells a user which bytes could not be had.</summary>
    /// <param name="file">At fault.</param>
    /// <param name="tensor">That was read.</param>
    /// <param name="offset">Where in the file.</param>
    /// <param name="problem">What was expected and what was found.</param>
    /// <param name="cause">If any.</param>
    Exception Failure(int file, string tensor, long offset, string problem, Exception? cause);
}
