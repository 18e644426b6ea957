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
    private const uint NumberWanted = 0x100;
    private const int TypeMask = 0xF000;
    private const int Folder = 0x4000;
    private const int Regular = 0x8000;
    private const ulong MountRoot = 0x2000;
    private const int Write = 2;
    private const int StateBytes = 256;

    /// <summary>The fields of a state lie at the same places on every processor: here a file's number, and the device on which it has that.</summary>
    private static readonly Range s_number = 32..40;

    private static readonly Range s_device = 136..144;

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

        Span<byte> state = stackalloc byte[StateBytes];
        try
        {
            if (!TryGetState(path, TypeWanted, state))
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

    /// <summary>Whether two paths lead to the same file, device or pipe. Links and folders may give it many names, and a pipe has none; elsewhere than on Linux only names are compared.</summary>
    public static bool AreSame(string path, string other)
    {
        if (UnfinishedFile.PlaceOf(path) == UnfinishedFile.PlaceOf(other))
        {
            return true;
        }

        Span<byte> state = stackalloc byte[StateBytes];
        Span<byte> otherState = stackalloc byte[StateBytes];
        try
        {
            return OperatingSystem.IsLinux()
                && TryGetState(path, NumberWanted, state) && TryGetState(other, NumberWanted, otherState)
                && state[s_number].SequenceEqual(otherState[s_number]) && state[s_device].SequenceEqual(otherState[s_device]);
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Whether this user may write to what is there, which is not opened for that: a pipe would wait for its reader.</summary>
    public static bool MayWrite(string path) => OperatingSystem.IsWindows() || Access(Path.GetFullPath(path), Write) == 0;

    private static bool TryGetState(string path, uint wanted, Span<byte> state) => StateOf(FromWorkingFolder, Path.GetFullPath(path), 0, wanted, state) == 0;

    private static bool IsDevice(string path) => UnfinishedFile.PlaceOf(path).StartsWith("/dev/", StringComparison.Ordinal);

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StateOf(int folder, string path, int flags, uint wanted, Span<byte> state);

    [LibraryImport("libc", EntryPoint = "access", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Access(string path, int mode);
}
