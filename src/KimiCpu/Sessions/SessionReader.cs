// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;
using KimiCpu.Model;

namespace KimiCpu.Sessions;

/// <summary>Reads a session from a file or a stream and believes nothing that it has not checked. See <see cref="SessionFormat"/>.</summary>
internal sealed class SessionReader : IDisposable
{
    private readonly SessionPlace _place;
    private readonly Stream _stream;

    /// <summary>Bytes of all; null of a stream that does not know its end.</summary>
    private readonly long? _length;
    private long _position;

    /// <summary>Bytes that all has to have, by the header.</summary>
    private long _whole;
    private ulong _seed;
    private ulong _lastHash;
    private int _blocks;

    /// <param name="place">Where it is.</param>
    /// <param name="expected">Of the model that is to go on with it; only counts may differ, and where the arithmetic does the pages are of no use.</param>
    /// <param name="vocabulary">Token ids run from 0 to this, exclusive.</param>
    /// <exception cref="SessionFileException">It is not what is expected.</exception>
    public SessionReader(SessionPlace place, SessionHeader expected, int vocabulary)
    {
        _place = place;
        _stream = place.OpenToRead();
        try
        {
            // Others that can seek may not know their end yet, such as the buffered body of a request, whose length is what has been read of it.
            _length = _stream.CanSeek && _stream is (FileStream or MemoryStream) ? _stream.Length - _stream.Position : null;
            Header = ReadHeader();
            Check(Header, expected);
            HasUsablePages = Header.Arithmetic == expected.Arithmetic;
            Tokens = new int[Header.TokenCount];
            ReadBlock(MemoryMarshal.AsBytes(Tokens.AsSpan()), "the tokens");
            _seed = _lastHash;
            Application = new byte[Header.ApplicationBytes];
            ReadBlock(Application, "the application's data");
            int wrong = Tokens.AsSpan().IndexOfAnyExceptInRange(0, vocabulary - 1);
            if (wrong >= 0)
            {
                throw Problem($"Token {wrong} has the id {Tokens[wrong]}, but the model's ids run from 0 to {vocabulary - 1}. {Damaged(_place)}");
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public SessionHeader Header { get; }

    /// <summary>Whether the pages are what the model would have computed; otherwise only the tokens are of use.</summary>
    public bool HasUsablePages { get; }

    public int[] Tokens { get; }

    public byte[] Application { get; }

    /// <summary>Reads the next page.</summary>
    /// <param name="page">Which one; in order.</param>
    /// <param name="bytes">As long as its tokens.</param>
    /// <exception cref="SessionFileException">It is damaged.</exception>
    public void ReadPage(int page, Span<byte> bytes) => ReadBlock(bytes, $"page {page}");

    /// <summary>
    /// Finds out that nothing is missing at the end, and that nothing follows. Where the length is known that has been checked before all else; else what has not been read is
    /// read now.
    /// </summary>
    /// <param name="cancellationToken">Honoured between two reads.</param>
    /// <exception cref="SessionFileException">It was cut off or added to.</exception>
    public void ReadToEnd(CancellationToken cancellationToken)
    {
        if (_length is not null)
        {
            return;
        }

        var rest = new byte[1 << 16];
        while (_position <= _whole)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int read = _stream.Read(rest, 0, (int)Math.Min(rest.Length, _whole + 1 - _position));
            if (read == 0)
            {
                break;
            }

            _position += read;
        }

        ThrowIfOtherLength(_position, _position > _whole ? "more than " : "");
    }

    public void Dispose() => _place.Close(_stream);

    /// <summary>Whether it is a session, and of a format that is read, can be known without the model that is to go on with it.</summary>
    /// <exception cref="SessionFileException">It is none, or of another format.</exception>
    public static void CheckBeginning(string path)
    {
        var place = new SessionPlace(path);
        using Stream file = place.OpenToRead();
        ReadOpening(file, place);
    }

    private static byte[] ReadOpening(Stream stream, SessionPlace place)
    {
        var opening = new byte[SessionFormat.OpeningBytes];
        int read = stream.ReadAtLeast(opening, opening.Length, throwOnEndOfStream: false);
        if (read < opening.Length || !opening.AsSpan().StartsWith(SessionFormat.Magic))
        {
            throw new SessionFileException(place.Name, "This is no saved session: it does not begin like one.");
        }

        int version = BinaryPrimitives.ReadInt32LittleEndian(opening.AsSpan(8));
        if (version != SessionFormat.Version)
        {
            throw new SessionFileException(place.Name, version > SessionFormat.Version
                ? $"The session has format {version}, and this version of KimiCpu reads format {SessionFormat.Version}. Use a newer KimiCpu."
                : $"The session has format {version}, which never was. {Damaged(place)}");
        }

        return opening;
    }

    private SessionHeader ReadHeader()
    {
        byte[] opening = ReadOpening(_stream, _place);
        _position = opening.Length;
        int length = BinaryPrimitives.ReadInt32LittleEndian(opening.AsSpan(12));
        if (length is < 1 or > SessionFormat.MaxHeaderBytes || length > _length - _position - SessionFormat.HashBytes)
        {
            throw Problem($"The header would have {length} bytes{(_length is { } all ? $" in a {_place.Kind} of {all}" : "")}. {Damaged(_place)}");
        }

        byte[] header = [.. opening, .. new byte[length]];
        ReadBlock(header, "the header", SessionFormat.OpeningBytes);
        _seed = _lastHash;
        try
        {
            return SessionHeader.Of(header[SessionFormat.OpeningBytes..]);
        }
        catch (Exception e) when (e is IOException or FormatException or ArgumentException)
        {
            throw Problem($"The header ends too early. {Damaged(_place)}");
        }
    }

    private void Check(SessionHeader found, SessionHeader expected)
    {
        if (found.Model != expected.Model)
        {
            throw Problem($"The session was saved by another model ('{found.ModelName}') than this one ('{expected.ModelName}'): configuration, tensors or weights differ. A session belongs to the model that computed it.");
        }

        // What pages of other arithmetic take is not known here; the length of the file tells whether that is so.
        bool hasRightSize = found.Arithmetic == expected.Arithmetic ? found.BytesPerToken == expected.BytesPerToken
            : found.Arithmetic == SessionHeader.LostPages ? found.BytesPerToken == 0
            : found.BytesPerToken > 0;
        if (!hasRightSize || found.PageTokens != expected.PageTokens
            || found.TokenCount is < 0 or > SessionFormat.MaxTokens || found.ApplicationBytes is < 0 or > SessionFormat.MaxApplicationBytes)
        {
            throw Problem($"The header says {found.TokenCount} tokens of {found.BytesPerToken} bytes in pages of {found.PageTokens}; this model has {expected.BytesPerToken} bytes in pages of {expected.PageTokens}. {Damaged(_place)}");
        }

        _whole = _position + found.BodyBytes;
        ThrowIfOtherLength(_length ?? _whole);
    }

    /// <param name="length">Of all.</param>
    /// <param name="more">Before the number, where the end is not known.</param>
    private void ThrowIfOtherLength(long length, string more = "")
    {
        if (length != _whole)
        {
            throw Problem($"The {_place.Kind} has {more}{(more.Length > 0 ? _whole : length):N0} bytes, but {Header.TokenCount:N0} tokens make {_whole:N0}: it was {(length < _whole ? "cut off" : "added to")}. {Damaged(_place)}");
        }
    }

    /// <param name="block">The bytes.</param>
    /// <param name="what">They are, for messages.</param>
    /// <param name="known">Of them that have been read already.</param>
    private void ReadBlock(Span<byte> block, string what, int known = 0)
    {
        long position = _position;
        Span<byte> stored = stackalloc byte[SessionFormat.HashBytes];
        int read = _stream.ReadAtLeast(block[known..], block.Length - known, throwOnEndOfStream: false);
        if (read < block.Length - known || _stream.ReadAtLeast(stored, stored.Length, throwOnEndOfStream: false) < stored.Length)
        {
            throw Problem($"The {_place.Kind} ends inside {what}, which begins at byte {position:N0}: it was cut off. {Damaged(_place)}");
        }

        _position += block.Length - known + stored.Length;

        _lastHash = SessionFormat.Hash(block, _seed, _blocks++);
        ulong expected = BinaryPrimitives.ReadUInt64LittleEndian(stored);
        if (expected != _lastHash)
        {
            throw Problem($"The checksum of {what}, which begins at byte {position:N0}, is {expected:x16}, but its bytes give {_lastHash:x16}. {Damaged(_place)}");
        }
    }

    private static string Damaged(SessionPlace place) => $"The {place.Kind} is damaged; use an earlier copy, or begin the session anew.";

    private SessionFileException Problem(string problem) => new(_place.Name, problem);
}
