// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>
/// A file that is written beside its place and moved there when it is whole. A failure leaves what was there before, and a power cut that or the new one. What a
/// process that was killed has left of its file is deleted by who writes to the same place a minute later. What no file can take the place of (<see cref="FileKind.IsFixed"/>) is
/// written to straight.
/// </summary>
internal sealed class UnfinishedFile : IDisposable
{
    private const string Ending = ".unfinished";

    /// <summary>One that was made this moment, or closed to be moved, is held by nobody either.</summary>
    private static readonly TimeSpan s_rest = TimeSpan.FromMinutes(1);

    private readonly string _place;

    /// <summary>Null where it is written straight to its place.</summary>
    private readonly string? _beside;

    /// <param name="path">The file; replaced if it exists, and where it is a link, what that leads to.</param>
    /// <param name="ownersOnly">Whether nobody but the user may read it. On Windows that is the folder's to say.</param>
    /// <exception cref="DirectoryNotFoundException">There is no folder that it could lie in.</exception>
    /// <exception cref="IOException">Only the user may read it, and it is no file that could be replaced.</exception>
    public UnfinishedFile(string path, bool ownersOnly = false)
    {
        _place = PlaceOf(path);
        if (FileKind.IsFixed(path))
        {
            Stream = ownersOnly
                ? throw new IOException($"'{path}' is a device, a pipe or a file that is mounted by itself, and no file that a new one can replace. Name a file in a folder.")
                : new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
            Empty(Stream);
            return;
        }

        DeleteAbandoned();
        _beside = $"{_place}.{Guid.NewGuid():N}{Ending}";

        // Without a buffer: one that cannot be written to a full drive would fail again when the file is closed, and stay behind.
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 0 };
        if (ownersOnly && !OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        try
        {
            Stream = new FileStream(_beside, options);
        }
        catch (DirectoryNotFoundException e)
        {
            throw new DirectoryNotFoundException($"'{_place}' cannot be written: the folder '{Path.GetDirectoryName(_place)}' does not exist. Make it first.", e);
        }
    }

    /// <summary>Takes the bytes, without a buffer.</summary>
    public FileStream Stream { get; }

    /// <summary>Where a file of this path is written to: itself, or where it leads as a link, whether there is a file or not. A link that leads round in a circle is replaced.</summary>
    public static string PlaceOf(string path)
    {
        var file = new FileInfo(Path.GetFullPath(path));
        try
        {
            return file.LinkTarget is null ? file.FullName : file.ResolveLinkTarget(returnFinalTarget: true)!.FullName;
        }
        catch (IOException)
        {
            return file.FullName;
        }
    }

    /// <summary>Moves the file to its place, once its bytes have reached the drive.</summary>
    public void Finish()
    {
        Stream.Flush(flushToDisk: true);
        Stream.Dispose();
        if (_beside is not null)
        {
            LastingMove.Move(_beside, _place);
        }
    }

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose()
    {
        Stream.Dispose();
        if (_beside is not null)
        {
            Discard(_beside);
        }
    }

    /// <summary>Deletes what was not finished, as far as the drive lets it be: what made it fail has more to say than what then fails too. Who writes there next deletes it.</summary>
    /// <param name="path">Of the file beside its place, if it is still there.</param>
    public static void Discard(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A drive that fails, or only lets itself be read any more.
        }
    }

    /// <summary>A file that is mounted by itself had something else in it.</summary>
    private static void Empty(FileStream file)
    {
        if (file.CanSeek && file.Length > 0)
        {
            file.SetLength(0);
        }
    }

    private static void DeleteUnlessHeld(string file)
    {
        try
        {
            if (DateTime.UtcNow - File.GetLastWriteTimeUtc(file) > s_rest)
            {
                new FileStream(file, FileMode.Open, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.DeleteOnClose).Dispose();
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Somebody writes it, or it is another user's.
        }
    }

    private void DeleteAbandoned()
    {
        try
        {
            foreach (string file in Directory.GetFiles(Path.GetDirectoryName(_place)!).Where(IsBeside))
            {
                DeleteUnlessHeld(file);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A folder that cannot be looked through may take a file all the same.
        }
    }

    private bool IsBeside(string file)
    {
        string start = _place + ".";
        return file.StartsWith(start, StringComparison.Ordinal) && file.EndsWith(Ending, StringComparison.Ordinal)
            && file.Length == start.Length + 32 + Ending.Length && Guid.TryParseExact(file.AsSpan(start.Length, 32), "N", out _);
    }
}
