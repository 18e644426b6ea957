// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;

namespace KimiCpu.Sessions;

/// <summary>
/// An application's stream as sessions use it on a thread of the pool: by its asynchronous members, since those of a web server's requests and answers refuse all others,
/// and a cancellation reaches what waits for a network. Stays the caller's.
/// </summary>
/// <param name="inner">The application's.</param>
/// <param name="cancellationToken">Ends what it waits for.</param>
internal sealed class AwaitedStream(Stream inner, CancellationToken cancellationToken) : Stream
{
    private const int Most = 1 << 16;

    public override bool CanRead => inner.CanRead;

    public override bool CanSeek => inner.CanSeek;

    public override bool CanWrite => inner.CanWrite;

    public override long Length => inner.Length;

    public override long Position
    {
        get => inner.Position;
        set => inner.Position = value;
    }

    public override int Read(Span<byte> buffer)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(Math.Min(Most, buffer.Length));
        int read = inner.ReadAsync(rented.AsMemory(0, Math.Min(rented.Length, buffer.Length)), cancellationToken).AsTask().GetAwaiter().GetResult();
        rented.AsSpan(0, read).CopyTo(buffer);

        // Not where the stream has thrown: it may still be writing to it.
        ArrayPool<byte>.Shared.Return(rented);
        return read;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            int length = Math.Min(Most, buffer.Length);
            byte[] rented = ArrayPool<byte>.Shared.Rent(length);
            buffer[..length].CopyTo(rented);
            inner.WriteAsync(rented.AsMemory(0, length), cancellationToken).AsTask().GetAwaiter().GetResult();
            ArrayPool<byte>.Shared.Return(rented);
            buffer = buffer[length..];
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush() => inner.FlushAsync(cancellationToken).GetAwaiter().GetResult();

    public override long Seek(long offset, SeekOrigin origin) => inner.Seek(offset, origin);

    public override void SetLength(long value) => inner.SetLength(value);
}
