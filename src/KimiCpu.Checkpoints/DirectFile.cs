// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Checkpoints;

/// <summary>
/// A file read in large aligned pieces past the page cache, whose copies would cost memory and time and displace what is
/// worth keeping; through the page cache where the file system refuses. Notices when the file is changed or cut. Safe for
/// several threads.
/// </summary>
internal sealed unsafe partial class DirectFile : IDisposable
{
    public const int Alignment = 4096;

    private const FileOptions NoBuffering = (FileOptions)0x20000000;
    private const int OpenCloseOnExec = 0x80000;
    private const int ControlNoCache = 48;

    /// <summary>
    /// Without it Windows serves the reads of a file one after another, whichever threads they come from, and drives reach their rate with several at once only.
    /// Elsewhere it has no meaning for them.
    /// </summary>
    private static readonly FileOptions s_overlapped = OperatingSystem.IsWindows() ? FileOptions.Asynchronous : FileOptions.None;

    private readonly string _path;
    private readonly Lock _gate = new();
    private readonly DateTime _written;
    private SafeFileHandle _handle;
    private SafeFileHandle? _refused;

    private DirectFile(string path, SafeFileHandle handle, bool direct)
    {
        _path = path;
        _handle = handle;
        IsDirect = direct;
        Length = RandomAccess.GetLength(handle);
        _written = File.GetLastWriteTimeUtc(handle);
    }

    /// <summary>Whether reads go past the page cache.</summary>
    public bool IsDirect { get; private set; }

    /// <summary>Bytes when it was opened.</summary>
    public long Length { get; }

    /// <summary>Whether the file is known to have been written or cut since it was opened; not where the system does not say.</summary>
    public bool HasChanged
    {
        get
        {
            try
            {
                return Differs;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return false;
            }
        }
    }

    private bool Differs => RandomAccess.GetLength(_handle) != Length || File.GetLastWriteTimeUtc(_handle) != _written;

    private static int OpenDirect => RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x10000 : 0x4000;

    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static DirectFile Open(string path)
    {
        SafeFileHandle? direct = TryOpenDirect(path);
        SafeFileHandle handle = direct ?? OpenBuffered(path);
        try
        {
            return new DirectFile(path, handle, direct is not null);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Reads <paramref name="count"/> bytes, or as many as there are before the file's end.</summary>
    /// <param name="offset">A multiple of <see cref="Alignment"/>.</param>
    /// <param name="target">Aligned, with room for <paramref name="count"/> bytes.</param>
    /// <param name="count">A multiple of <see cref="Alignment"/>.</param>
    /// <exception cref="IOException">The drive fails, or the file was changed or cut since it was opened.</exception>
    public void Read(long offset, byte* target, int count)
    {
        try
        {
            ReadUnchanged(offset, target, count);
        }
        catch (UnauthorizedAccessException e)
        {
            // The file could be opened: a network drive's ticket or session has run out, and reading fails as with any other fault.
            throw new IOException(e.Message, e);
        }
    }

    public void Dispose()
    {
        _handle.Dispose();
        _refused?.Dispose();
    }

    /// <summary>Whether reads of several threads are under way at once; for tests.</summary>
    internal bool ReadsOverlap => !OperatingSystem.IsWindows() || _handle.IsAsync;

    /// <summary>Whether a read failed since the file system wants none of its kind: <c>EINVAL</c>, <c>ERROR_INVALID_PARAMETER</c>.</summary>
    internal static bool IsRefusal(IOException error, bool onWindows) => (error.HResult & 0xFFFF) == (onWindows ? 87 : 22);

    private void ReadUnchanged(long offset, byte* target, int count)
    {
        int wanted = (int)Math.Min(count, Length - offset);
        for (int done = 0; done < wanted;)
        {
            int got = ReadOnce(offset + done, new Span<byte>(target + done, count - done));
            if (got == 0)
            {
                throw new IOException($"The file ends at byte {offset + done:N0}; it had {Length:N0} when it was opened.");
            }

            done += got;

            // A direct read that ends inside a page can only go on from the page's beginning.
            if (done < wanted && IsDirect)
            {
                done -= done % Alignment;
                if (got < Alignment)
                {
                    throw new IOException($"A read at byte {offset + done:N0} stopped after {got} bytes; the file had {Length:N0} when it was opened.");
                }
            }
        }

        if (Differs)
        {
            throw new IOException($"The file was changed while it was open: {Length:N0} bytes of {_written:u} then, {RandomAccess.GetLength(_handle):N0} of {File.GetLastWriteTimeUtc(_handle):u} now.");
        }
    }

    private static SafeFileHandle? TryOpenDirect(string path)
    {
        try
        {
            if (OperatingSystem.IsWindows())
            {
                return File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, NoBuffering | s_overlapped);
            }

            if (OperatingSystem.IsLinux())
            {
                var handle = new SafeFileHandle(Open(path, OpenCloseOnExec | OpenDirect), ownsHandle: true);
                return handle.IsInvalid ? null : handle;
            }

            if (OperatingSystem.IsMacOS())
            {
                SafeFileHandle handle = OpenBuffered(path);
                if (TryPassCache((int)handle.DangerousGetHandle()))
                {
                    return handle;
                }

                handle.Dispose();
            }
        }
        catch (Exception e) when (e is IOException or DllNotFoundException or EntryPointNotFoundException)
        {
            // The ordinary way of opening works, or says what is wrong.
        }

        return null;
    }

    private static SafeFileHandle OpenBuffered(string path) => File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.RandomAccess | s_overlapped);

    /// <summary>On macOS.</summary>
    private static bool TryPassCache(int file) =>
        (RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? ControlOnStack(file, ControlNoCache, 0, 0, 0, 0, 0, 0, 1) : Control(file, ControlNoCache, 1)) != -1;

    private int ReadOnce(long offset, Span<byte> target)
    {
        bool direct = IsDirect;
        try
        {
            return RandomAccess.Read(_handle, target, offset);
        }
        catch (IOException e) when (direct && IsRefusal(e, OperatingSystem.IsWindows()))
        {
            // Some file systems refuse only when it comes to reading.
            UseBuffered();
            return RandomAccess.Read(_handle, target, offset);
        }
    }

    private void UseBuffered()
    {
        lock (_gate)
        {
            if (IsDirect)
            {
                // Other threads may be reading from the old handle.
                _refused = _handle;
                _handle = OpenBuffered(_path);
                IsDirect = false;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial nint Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(int file, int command, nint argument);

    /// <summary>The same where a function takes what follows "…" in its declaration from the stack, as on Apple's Arm64: the six between fill the registers.</summary>
    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int ControlOnStack(int file, int command, nint r2, nint r3, nint r4, nint r5, nint r6, nint r7, nint argument);
}
