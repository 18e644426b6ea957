// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;
using KimiCpu.Model;

namespace KimiCpu.Sessions;

/// <summary>Reads a session's file and believes nothing that it has not checked. See <see cref="SessionFormat"/>.</summary>
internal sealed class SessionReader : IDisposable
{
    private const string Damaged = "The file is damaged; use an earlier copy, or begin the session anew.";

    private readonly string _path;
    private readonly FileStream _file;
    private ulong _seed;
    private ulong _lastHash;
    private int _blocks;

    /// <param name="path">The file.</param>
    /// <param name="expected">Of the model that is to go on with it; only counts may differ, and where the arithmetic does the pages are of no use.</param>
    /// <param name="vocabulary">Token ids run from 0 to this, exclusive.</param>
    /// <exception cref="SessionFileException">The file is not what is expected.</exception>
    public SessionReader(string path, SessionHeader expected, int vocabulary)
    {
        _path = path;
        if (Directory.Exists(path))
        {
            throw new UnauthorizedAccessException($"{Path.GetFullPath(path)} is a folder; a session is loaded from a file.");
        }

        _file = Open(path);
        try
        {
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
                throw Problem($"Token {wrong} has the id {Tokens[wrong]}, but the model's ids run from 0 to {vocabulary - 1}. {Damaged}");
            }
        }
        catch
        {
            _file.Dispose();
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

    public void Dispose() => _file.Dispose();

    /// <summary>Whether it is a session, and of a format that is read, can be known without the model that is to go on with it.</summary>
    /// <exception cref="SessionFileException">It is none, or of another format.</exception>
    public static void CheckBeginning(string path)
    {
        using FileStream file = Open(path);
        ReadOpening(file, path);
    }

    /// <summary>A save that replaces the file goes on beside it, and what was opened stays what it was.</summary>
    private static FileStream Open(string path) =>
        MomentaryUse.Outlast(() => new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete));

    private static byte[] ReadOpening(FileStream file, string path)
    {
        var opening = new byte[SessionFormat.OpeningBytes];
        int read = file.ReadAtLeast(opening, opening.Length, throwOnEndOfStream: false);
        if (read < opening.Length || !opening.AsSpan().StartsWith(SessionFormat.Magic))
        {
            throw new SessionFileException(path, "This is no saved session: it does not begin like one.");
        }

        int version = BinaryPrimitives.ReadInt32LittleEndian(opening.AsSpan(8));
        if (version != SessionFormat.Version)
        {
            throw new SessionFileException(path, version > SessionFormat.Version
                ? $"The session has format {version}, and this version of KimiCpu reads format {SessionFormat.Version}. Use a newer KimiCpu."
                : $"The session has format {version}, which never was. {Damaged}");
        }

        return opening;
    }

    private SessionHeader ReadHeader()
    {
        byte[] opening = ReadOpening(_file, _path);
        int length = BinaryPrimitives.ReadInt32LittleEndian(opening.AsSpan(12));
        if (length is < 1 or > SessionFormat.MaxHeaderBytes || length > _file.Length - _file.Position - SessionFormat.HashBytes)
        {
            throw Problem($"The header would have {length} bytes in a file of {_file.Length}. {Damaged}");
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
            throw Problem($"The header ends too early. {Damaged}");
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
            throw Problem($"The header says {found.TokenCount} tokens of {found.BytesPerToken} bytes in pages of {found.PageTokens}; this model has {expected.BytesPerToken} bytes in pages of {expected.PageTokens}. {Damaged}");
        }

        long whole = _file.Position + found.BodyBytes;
        if (_file.Length != whole)
        {
            throw Problem($"The file has {_file.Length:N0} bytes, but {found.TokenCount:N0} tokens make {whole:N0}: it was {(_file.Length < whole ? "cut off" : "added to")}. {Damaged}");
        }
    }

    /// <param name="block">The bytes.</param>
    /// <param name="what">They are, for messages.</param>
    /// <param name="known">Of them that have been read already.</param>
    private void ReadBlock(Span<byte> block, string what, int known = 0)
    {
        long position = _file.Position;
        Span<byte> stored = stackalloc byte[SessionFormat.HashBytes];
        int read = _file.ReadAtLeast(block[known..], block.Length - known, throwOnEndOfStream: false);
        if (read < block.Length - known || _file.ReadAtLeast(stored, stored.Length, throwOnEndOfStream: false) < stored.Length)
        {
            throw Problem($"The file ends inside {what}, which begins at byte {position:N0}. {Damaged}");
        }

        _lastHash = SessionFormat.Hash(block, _seed, _blocks++);
        ulong expected = BinaryPrimitives.ReadUInt64LittleEndian(stored);
        if (expected != _lastHash)
        {
            throw Problem($"The checksum of {what}, which begins at byte {position:N0}, is {expected:x16}, but its bytes give {_lastHash:x16}. {Damaged}");
        }
    }

    private SessionFileException Problem(string problem) => new(_path, problem);
}
