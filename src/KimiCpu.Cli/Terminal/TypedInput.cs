// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// What is typed into the console of Windows, in UTF-16: the console's code page has question marks for what is not in it, and most languages are not. Read so, the
/// console no longer ends the input itself at a Ctrl-Z that begins a line.
/// </summary>
/// <param name="console">Gives whole characters, a line at a time.</param>
internal sealed class TypedInput(Stream console) : Stream
{
    private const byte ControlZ = 0x1A;
    private const byte LineEnd = (byte)'\n';

    private bool _beginsLine = true;
    private bool _hasEnded;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(byte[] buffer, int offset, int count)
    {
        int read = _hasEnded ? 0 : console.Read(buffer, offset, count);
        ReadOnlySpan<byte> bytes = buffer.AsSpan(offset, read);
        for (int i = 0; i + 1 < bytes.Length; i += sizeof(char))
        {
            if (_beginsLine && bytes[i] == ControlZ && bytes[i + 1] == 0)
            {
                _hasEnded = true;
                return i;
            }

            _beginsLine = bytes[i] == LineEnd && bytes[i + 1] == 0;
        }

        return read;
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
