// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Weights;

/// <summary>Reads of a file, each of which is tried three times: a drive under load or behind a network recovers from some errors.</summary>
/// <param name="read">Reads bytes from an offset.</param>
/// <param name="hasChanged">Whether the file is another by now, which no further attempt changes.</param>
internal sealed unsafe class PatientReads(PatientReads.Attempt read, Func<bool> hasChanged)
{
    /// <summary>Before the second and third attempt.</summary>
    private static readonly TimeSpan[] s_pauses = [TimeSpan.FromMilliseconds(10), TimeSpan.FromMilliseconds(200)];

    public delegate void Attempt(long offset, byte* target, int count);

    /// <exception cref="IOException">The last attempt failed, too.</exception>
    public void Read(long offset, byte* target, int count)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                read(offset, target, count);
                return;
            }
            catch (IOException) when (attempt < s_pauses.Length && !hasChanged())
            {
                Thread.Sleep(s_pauses[attempt]);
            }
        }
    }
}
