// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>A drive that writes to the real one until it is told otherwise.</summary>
internal sealed class FaultyDrive : ITargetDrive
{
    private readonly FileSystemDrive _drive = new();

    /// <summary>Null for those of the real drive.</summary>
    public long? Free { get; set; }

    /// <summary>Of the drive, of which the files of the folder take their part; null for the real drive's free ones.</summary>
    public long? Size { get; set; }

    /// <summary>Bytes that fit on it, over all files; then it is full.</summary>
    public long Capacity { get; set; } = long.MaxValue;

    /// <summary>Of which file the byte <see cref="FlippedByte"/> is written wrongly.</summary>
    public string? FlippedFile { get; set; }

    public long FlippedByte { get; set; }

    /// <summary>Names of the files that were begun.</summary>
    public List<string> Created { get; } = [];

    /// <summary>Called when a file is begun.</summary>
    public Action<string>? OnCreate { get; set; }

    public long FreeBytes(string folder) => Free ?? (Size is { } size ? size - RepackFolders.Bytes(folder) : _drive.FreeBytes(folder));

    public Stream Create(string path, long bytes)
    {
        string name = Path.GetFileName(path)[..^".unfinished".Length];
        Created.Add(name);
        OnCreate?.Invoke(name);
        return new FaultyStream(this, _drive.Create(path, bytes), name == FlippedFile ? FlippedByte : -1);
    }

    private sealed class FaultyStream(FaultyDrive drive, Stream inner, long flipped) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            drive.Capacity -= buffer.Length;
            if (drive.Capacity < 0)
            {
                throw new IOException("No space left on device");
            }

            byte[] bytes = buffer.ToArray();
            long at = flipped - inner.Position;
            if (at >= 0 && at < bytes.Length)
            {
                bytes[at] ^= 4;
            }

            inner.Write(bytes);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
