// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Windows opens and replaces no file while another has it for itself, if for a moment only: a reader, a virus scanner, or another one who replaces it.</summary>
internal static class MomentaryUse
{
    private const int AccessDenied = unchecked((int)0x80070005);
    private const int SharingViolation = unchecked((int)0x80070020);

    private const int PatienceMilliseconds = 2000;

    /// <summary>Where many replace a file at once, whoever waits long loses to whoever has just come.</summary>
    private const int LongestWaitMilliseconds = 32;

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
        long start = Environment.TickCount64;
        for (int wait = 1; ; wait = Math.Min(2 * wait, LongestWaitMilliseconds))
        {
            try
            {
                return function();
            }
            catch (Exception e) when (OperatingSystem.IsWindows() && Environment.TickCount64 - start < PatienceMilliseconds && e.HResult is AccessDenied or SharingViolation)
            {
                Thread.Sleep(wait);
            }
        }
    }
}
