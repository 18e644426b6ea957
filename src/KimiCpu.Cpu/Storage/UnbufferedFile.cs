// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Cpu.Storage;

/// <summary>Opens files for reading past the system's page cache, where the system and the file system allow it.</summary>
internal static partial class UnbufferedFile
{
    /// <summary>Offsets, lengths and addresses of unbuffered reads are multiples of this: at least any drive's block.</summary>
    public const int Alignment = 4096;

    private const int ReadOnly = 0;
    private const int CloseOnExec = 0x80000;

    /// <summary>.NET passes it on to Windows as FILE_FLAG_NO_BUFFERING.</summary>
    private const FileOptions NoBuffering = (FileOptions)0x20000000;

    /// <summary>O_DIRECT, which Arm64 numbers differently.</summary>
    private static int Direct => RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x10000 : 0x4000;

    /// <param name="path">Of an existing file.</param>
    /// <param name="unbuffered">Whether reads go past the page cache.</param>
    /// <exception cref="IOException">It cannot be opened at all.</exception>
    public static SafeFileHandle Open(string path, out bool unbuffered)
    {
        unbuffered = true;
        if (OperatingSystem.IsLinux() && OpenDirect(path) is { } direct)
        {
            return direct;
        }

        if (OperatingSystem.IsWindows())
        {
            try
            {
                return File.OpenHandle(path, options: NoBuffering);
            }
            catch (IOException)
            {
                // Ordinary reads remain, and whoever fails at those too hears why.
            }
        }

        unbuffered = false;
        return File.OpenHandle(path, options: FileOptions.RandomAccess);
    }

    private static SafeFileHandle? OpenDirect(string path)
    {
        try
        {
            int descriptor = OpenFile(path, ReadOnly | CloseOnExec | Direct);
            return descriptor < 0 ? null : new SafeFileHandle(descriptor, ownsHandle: true);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);
}
