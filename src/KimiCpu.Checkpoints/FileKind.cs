// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KimiCpu.Checkpoints;

/// <summary>What there is at a path that is to be written to.</summary>
internal static partial class FileKind
{
    private const int FromWorkingFolder = -100;
    private const uint TypeWanted = 1;
    private const int TypeMask = 0xF000;
    private const int Folder = 0x4000;
    private const int Regular = 0x8000;
    private const ulong MountRoot = 0x2000;
    private const int Write = 2;

    /// <summary>
    /// Whether no other file can take its place: moved over a device or a pipe, one would be there instead of it, for every other program too, and over a file
    /// that a container mounts by itself the system moves none. Elsewhere than on Linux devices are known by their folder, and pipes that have names are not known.
    /// </summary>
    public static bool IsFixed(string path)
    {
        if (!OperatingSystem.IsLinux())
        {
            return !OperatingSystem.IsWindows() && IsDevice(path);
        }

        // Its fields lie at the same places on every processor.
        Span<byte> state = stackalloc byte[256];
        try
        {
            if (StateOf(FromWorkingFolder, Path.GetFullPath(path), 0, TypeWanted, state) != 0)
            {
                return false;
            }
        }
        catch (EntryPointNotFoundException)
        {
            return IsDevice(path);
        }

        int type = BinaryPrimitives.ReadUInt16LittleEndian(state[28..]) & TypeMask;
        return type is not (Regular or Folder) || (type == Regular && (BinaryPrimitives.ReadUInt64LittleEndian(state[8..]) & MountRoot) != 0);
    }

    /// <summary>Whether this user may write to what is there, which is not opened for that: a pipe would wait for its reader.</summary>
    public static bool MayWrite(string path) => OperatingSystem.IsWindows() || Access(Path.GetFullPath(path), Write) == 0;

    private static bool IsDevice(string path) => UnfinishedFile.PlaceOf(path).StartsWith("/dev/", StringComparison.Ordinal);

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StateOf(int folder, string path, int flags, uint wanted, Span<byte> state);

    [LibraryImport("libc", EntryPoint = "access", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Access(string path, int mode);
}
