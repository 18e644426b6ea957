// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Windows opens and replaces no file while another has it for itself, if for a moment only: a reader, a virus scanner, or another one who replaces it.</summary>
internal static class MomentaryUse
{
    private const int AccessDenied = unchecked((int)0x80070005);
    private const int SharingViolation = unchecked((int)0x80070020);

    /// <summary>Waits between tries take a second in all.</summary>
    private const int LongestWaitMilliseconds = 512;

    /// <summary>Does it, again where the file was in use. Elsewhere than on Windows files are in nobody's way, and it is done once.</summary>
    public static void Outlast(Action action) => Outlast(() =>
    {
        action();
        return true;
    });

    /// <inheritdoc cref="Outlast(Action)"/>
    /// <returns>What the first one that went well has returned.</returns>
    public static T Outlast<T>(Func<T> function)
    {
        for (int wait = 1; ; wait *= 2)
        {
            try
            {
                return function();
            }
            catch (Exception e) when (OperatingSystem.IsWindows() && wait <= LongestWaitMilliseconds && e.HResult is AccessDenied or SharingViolation)
            {
                Thread.Sleep(wait);
            }
        }
    }
}
