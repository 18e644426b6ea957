// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// Has a terminal of Linux take a letter away as a whole: it takes a byte at each Backspace where nobody has told it that letters have several (<c>stty iutf8</c>), as in containers and
/// on serial lines. As long as lines are typed; the terminal is left as it was found, unless a key ends a command that reads what is typed whole.
/// </summary>
internal sealed unsafe partial class WholeLetters : IDisposable
{
    private const int StandardInput = 0;
    private const int Now = 0;
    private const uint Utf8 = 0x4000;

    /// <summary>More than the system's structure has, whose first word is that of the input.</summary>
    private const int Words = 64;

    private int _isChanged;

    public WholeLetters()
    {
        if (OperatingSystem.IsLinux() && TrySet(on: true))
        {
            _isChanged = 1;

            // A line that is being typed when the program ends is not waited for.
            AppDomain.CurrentDomain.ProcessExit += Restore;
        }
    }

    /// <summary>May come from the thread of a signal as well.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isChanged, 0) != 0)
        {
            AppDomain.CurrentDomain.ProcessExit -= Restore;
            TrySet(on: false);
        }
    }

    /// <returns>Whether it was otherwise, and is so now.</returns>
    private static bool TrySet(bool on)
    {
        uint* attributes = stackalloc uint[Words];
        if (GetAttributes(StandardInput, attributes) != 0 || (attributes[0] & Utf8) != 0 == on)
        {
            return false;
        }

        attributes[0] ^= Utf8;
        return SetAttributes(StandardInput, Now, attributes) == 0;
    }

    [LibraryImport("libc", EntryPoint = "tcgetattr")]
    private static partial int GetAttributes(int descriptor, uint* attributes);

    [LibraryImport("libc", EntryPoint = "tcsetattr")]
    private static partial int SetAttributes(int descriptor, int when, uint* attributes);

    private void Restore(object? sender, EventArgs e) => Dispose();
}
