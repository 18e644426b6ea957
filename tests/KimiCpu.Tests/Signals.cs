// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KimiCpu.Tests;

/// <summary>Signals to other processes. Not on Windows.</summary>
internal static partial class Signals
{
    public const int HangUp = 1;
    public const int Interruption = 2;

    /// <param name="process">That gets it.</param>
    /// <param name="signal">By its number.</param>
    public static void Send(Process process, int signal)
    {
        if (Kill(process.Id, signal) != 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);
}
