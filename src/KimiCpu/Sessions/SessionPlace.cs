// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Sessions;

/// <summary>Where a session is saved to or loaded from: a file, or a stream of the application, which stays open and is used from where it stands.</summary>
internal sealed class SessionPlace
{
    private readonly string? _path;
    private readonly Stream? _stream;
    private readonly long? _start;
    private bool _isUsed;

    /// <param name="path">Of the file.</param>
    public SessionPlace(string path) => _path = path;

    /// <param name="stream">The application's.</param>
    public SessionPlace(Stream stream)
    {
        _stream = stream;
        _start = stream.CanSeek ? stream.Position : null;
    }

    /// <summary>A file, which is read in some seconds, while a stream may wait for a network.</summary>
    public bool IsFile => _path is not null;

    /// <summary>For messages.</summary>
    public string Name => _path ?? "(stream)";

    /// <summary>What it is, for messages.</summary>
    public string Kind => _path is null ? "stream" : "file";

    /// <summary>Finds out whether a session can be saved there, before much is done for it.</summary>
    /// <exception cref="IOException">It cannot.</exception>
    /// <exception cref="UnauthorizedAccessException">Writing there is not allowed.</exception>
    public void CheckWritable()
    {
        if (_path is not null)
        {
            BeginFile(_path).Dispose();
        }
    }

    /// <summary>Begins a save.</summary>
    /// <param name="file">What it becomes when it is finished; null for a stream, which has no such moment.</param>
    public Stream BeginWriting(out UnfinishedFile? file)
    {
        _isUsed = true;
        file = _path is null ? null : BeginFile(_path);
        return file?.Stream ?? _stream!;
    }

    /// <summary>Whether another save can begin after one that failed: in a stream only where nothing is written, or where that can be taken back.</summary>
    public bool TryBeginAgain()
    {
        if (_path is not null || !_isUsed)
        {
            return true;
        }

        if (_start is not { } start)
        {
            return false;
        }

        _stream!.SetLength(start);
        _stream.Position = start;
        return true;
    }

    /// <summary>Begins to load.</summary>
    /// <exception cref="UnauthorizedAccessException">It is a folder, or reading it is not allowed.</exception>
    public Stream OpenToRead() => _path switch
    {
        null => _stream!,
        _ when Directory.Exists(_path) => throw new UnauthorizedAccessException($"{Path.GetFullPath(_path)} is a folder; a session is loaded from a file."),

        // A save that replaces the file goes on beside it, and what was opened stays what it was.
        _ => MomentaryUse.Outlast(() => new FileStream(_path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete)),
    };

    /// <summary>Closes what <see cref="OpenToRead"/> has opened.</summary>
    public void Close(Stream opened)
    {
        if (_path is not null)
        {
            opened.Dispose();
        }
    }

    private static UnfinishedFile BeginFile(string path)
    {
        if (Directory.Exists(path))
        {
            throw new IOException($"{Path.GetFullPath(path)} is a folder; a session is saved to a file.");
        }

        // A conversation is nobody else's business.
        return new UnfinishedFile(path, ownersOnly: true);
    }
}
