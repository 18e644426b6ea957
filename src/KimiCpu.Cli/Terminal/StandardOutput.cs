// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Cli.Terminal;

/// <summary>Standard output, which notices that nobody reads it any more (<c>kimi generate … | head</c>).</summary>
internal static class StandardOutput
{
    private const int BrokenPipe = 32;

    /// <summary>
    /// .NET's own console stream drops what a closed pipe refuses, and the command would compute on for nobody. Files keep
    /// that stream, since writing at a file's own offset would lose what other programs write to it.
    /// </summary>
    public static TextWriter Open()
    {
        if (!Console.IsOutputRedirected || OperatingSystem.IsWindows())
        {
            return Console.Out;
        }

        var handle = new SafeFileHandle(1, ownsHandle: false);
        try
        {
            var pipe = new FileStream(handle, FileAccess.Write, bufferSize: 0);
            return pipe.CanSeek ? Console.Out : TextWriter.Synchronized(new StreamWriter(pipe, new UTF8Encoding(false)) { AutoFlush = true });
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            // There is no standard output.
            return Console.Out;
        }
    }

    /// <summary>Whether an error says that the reader is gone.</summary>
    public static bool IsClosed(IOException error) => error.HResult == BrokenPipe;
}
