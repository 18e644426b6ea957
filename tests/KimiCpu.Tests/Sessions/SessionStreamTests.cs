// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Security.Cryptography;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Sessions;

/// <summary>Sessions in streams of the application: the bytes of a file, and its checks.</summary>
[TestFixture]
internal sealed class SessionStreamTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 8, IgnoreEndOfText = true };
    private static readonly int[] s_text = [.. Enumerable.Range(0, 150).Select(i => i * 13 % 500)];

    private KimiModel _model = null!;
    private byte[] _sound = [];

    [OneTimeSetUp]
    public void Save()
    {
        _model = KimiModel.OpenEmbedded();
        using KimiSession session = MakeSession();
        using var stream = new MemoryStream();
        session.Save(stream);
        _sound = stream.ToArray();
    }

    [OneTimeTearDown]
    public void Close() => _model.Dispose();

    [Test]
    public void A_session_goes_on_from_a_stream_as_from_a_file([Values(Ends.Known, Ends.Unknown)] Ends ends)
    {
        using KimiModel next = KimiModel.OpenEmbedded();
        using Stream stream = Reading(_sound, ends);
        var parts = new List<double>();
        using KimiSession loaded = next.LoadSession(stream, new Immediate(parts.Add));
        Assert.That(parts[^1], Is.EqualTo(1));
        Assert.That((loaded.TokenCount, loaded.ApplicationData.ToArray()), Is.EqualTo((s_text.Length + 7, "my notes"u8.ToArray())));
        Assert.That(loaded.Generate(s_text.AsMemory(), s_options).Usage.CachedTokens, Is.EqualTo(s_text.Length - 1));
        Assert.That(stream.CanRead, Is.True, "it is the application's");
    }

    [Test]
    public void Files_and_streams_hold_the_same_bytes()
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            string path = Path.Combine(folder, "session.kimi");
            using KimiSession session = MakeSession();
            session.Save(path);
            Assert.That(File.ReadAllBytes(path), Is.EqualTo(_sound));
            using FileStream file = File.OpenRead(path);
            using KimiSession loaded = _model.LoadSession(file);
            Assert.That(loaded.TokenCount, Is.EqualTo(session.TokenCount));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>As ASP.NET Core buffers the body of a request: it can seek, and its length is what has been read of it.</summary>
    [Test]
    public void A_stream_that_does_not_know_its_end_yet_is_read_to_it()
    {
        using KimiSession loaded = _model.LoadSession(new Buffered(_sound));
        Assert.That(loaded.TokenCount, Is.EqualTo(s_text.Length + 7));
        Assert.That(() => _model.LoadSession(new Buffered([.. _sound, 0])), Throws.TypeOf<SessionFileException>().With.Message.Contains("it was added to"));
    }

    [Test]
    public void What_would_be_left_of_an_older_session_is_told_before_it_is_lost()
    {
        using KimiSession session = MakeSession();
        byte[] older = [.. _sound, .. _sound];
        using var stream = new MemoryStream([.. older]);
        Assert.That(() => session.Save(stream), Throws.ArgumentException.With.Message.Contains("SetLength(Position)"));
        Assert.That(() => session.SaveAsync(stream), Throws.ArgumentException.With.Message.Contains("SetLength(Position)"));
        Assert.That(stream.ToArray(), Is.EqualTo(older));
        stream.SetLength(0);
        session.Save(stream);
        Assert.That(stream.ToArray(), Is.EqualTo(_sound));
    }

    /// <summary>What other things an application has in the stream stay as they are before it.</summary>
    [Test]
    public void A_stream_is_used_from_where_it_stands()
    {
        using KimiSession session = MakeSession();
        using var stream = new MemoryStream();
        stream.Write("before"u8);
        session.Save(stream);
        Assert.That(stream.ToArray(), Is.EqualTo((byte[])[.. "before"u8, .. _sound]));
        stream.Position = "before".Length;
        using KimiSession loaded = _model.LoadSession(stream);
        Assert.That(loaded.TokenCount, Is.EqualTo(session.TokenCount));
    }

    /// <summary>At rest it is nobody else's to read, and neither of these streams can seek.</summary>
    [Test]
    public async Task A_session_can_be_encrypted()
    {
        using Aes aes = Aes.Create();
        using KimiSession session = MakeSession();
        using var stored = new MemoryStream();
        await using (var encrypting = new CryptoStream(stored, aes.CreateEncryptor(), CryptoStreamMode.Write, leaveOpen: true))
        {
            await session.SaveAsync(encrypting);
        }

        stored.Position = 0;
        await using var decrypting = new CryptoStream(stored, aes.CreateDecryptor(), CryptoStreamMode.Read);
        using KimiSession loaded = await _model.LoadSessionAsync(decrypting);
        Assert.That(loaded.TokenCount, Is.EqualTo(session.TokenCount));
    }

    /// <summary>As the bodies of a web server's requests and answers.</summary>
    [Test]
    public async Task Asynchronous_calls_use_asynchronous_members_alone()
    {
        using KimiSession session = MakeSession();
        using var stored = new MemoryStream();
        await session.SaveAsync(new OneWay(stored, asynchronous: true));
        Assert.That(stored.ToArray(), Is.EqualTo(_sound));
        using KimiSession loaded = await _model.LoadSessionAsync(Reading(_sound, Ends.UnknownAndAsynchronous));
        Assert.That(loaded.TokenCount, Is.EqualTo(session.TokenCount));
    }

    [Test]
    public void A_stream_that_ends_early_is_told_as_cut_off([Values(Ends.Known, Ends.Unknown)] Ends ends)
    {
        foreach (int length in new[] { 40, 200, _sound.Length / 2, _sound.Length - 9, _sound.Length - 8, _sound.Length - 1 })
        {
            string message = Assert.Throws<SessionFileException>(() => _model.LoadSession(Reading(_sound[..length], ends)), $"{length} bytes").Message;
            Assert.That(message, Does.StartWith("'(stream)': ").And.Contain(ends == Ends.Known && length < 60 ? "in a stream of 40" : "cut off").And.Contain("The stream is damaged; use an earlier copy").And.Not.Contain("file"), $"{length} bytes");
        }

        Assert.That(() => _model.LoadSession(Reading([], ends)), Throws.TypeOf<SessionFileException>().With.Message.Contains("no saved session"));
    }

    [Test]
    public void A_stream_that_goes_on_is_told_as_added_to([Values(Ends.Known, Ends.Unknown)] Ends ends, [Values(1, 100_000)] int more)
    {
        using KimiModel other = KimiModel.OpenEmbedded();
        Assert.That(() => other.LoadSession(Reading([.. _sound, .. new byte[more]], ends)), Throws.TypeOf<SessionFileException>().With.Message.Contains($"{_sound.Length:N0}: it was added to"));
        Assert.That(() => other.CachePages.Free, Is.EqualTo(other.CachePages.Capacity).After(60_000, 5));
        Assert.That(other.CachePages.Reusable, Is.Zero, "none of it is used");
    }

    /// <summary>Of those the pages are not read, and of an empty session there are none.</summary>
    [Test]
    public void The_end_is_looked_at_also_where_no_page_is_read([Values(Ends.Known, Ends.Unknown)] Ends ends, [Values] bool empty)
    {
        using KimiModel exact = KimiModel.OpenEmbedded(new KimiModelOptions { Exact = true });
        byte[] sound = _sound;
        if (empty)
        {
            using KimiSession session = exact.CreateSession();
            using var stream = new MemoryStream();
            session.Save(stream);
            sound = stream.ToArray();
        }

        using (KimiSession loaded = exact.LoadSession(Reading(sound, ends)))
        {
            Assert.That(loaded.TokenCount, Is.EqualTo(empty ? 0 : s_text.Length + 7));
        }

        Assert.That(() => exact.LoadSession(Reading([.. sound, 0], ends)), Throws.TypeOf<SessionFileException>().With.Message.Contains("added to"));
        Assert.That(() => exact.LoadSession(Reading(sound[..^1], ends)), Throws.TypeOf<SessionFileException>().With.Message.Contains("cut off"));
    }

    [Test]
    public void A_damaged_byte_is_found([Values(Ends.Known, Ends.Unknown)] Ends ends)
    {
        foreach (int at in new[] { 0, 9, 20, 60, _sound.Length / 2, _sound.Length - 1 })
        {
            byte[] damaged = [.. _sound];
            damaged[at] ^= 4;
            Assert.That(() => _model.LoadSession(Reading(damaged, ends)), Throws.TypeOf<SessionFileException>(), $"byte {at}");
        }
    }

    [Test]
    public void What_a_stream_throws_is_told_and_a_save_that_was_left_is_no_session()
    {
        using KimiSession session = MakeSession();
        using var source = new CancellationTokenSource();
        using var stream = new MemoryStream();
        Assert.That(() => session.Save(stream, new Immediate(_ => source.Cancel()), source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(stream.CanWrite, Is.True);
        Assert.That(() => session.Save(new MemoryStream(new byte[100]) { Position = 100 }), Throws.TypeOf<NotSupportedException>(), "it cannot grow");
        Assert.That(() => _model.LoadSession(new OneWay(new MemoryStream(), asynchronous: true)), Throws.TypeOf<NotSupportedException>().With.Message.EqualTo("not this one"));
    }

    private static Stream Reading(byte[] bytes, Ends ends) => ends == Ends.Known ? new MemoryStream(bytes) : new OneWay(new MemoryStream(bytes), ends == Ends.UnknownAndAsynchronous);

    private KimiSession MakeSession()
    {
        KimiSession session = _model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        session.ApplicationData = "my notes"u8.ToArray();
        return session;
    }

    /// <summary>Whether a stream knows its end.</summary>
    internal enum Ends
    {
        Known,
        Unknown,
        UnknownAndAsynchronous,
    }

    private sealed class Buffered(byte[] all) : Stream
    {
        private readonly MemoryStream _inner = new(all);

        public override bool CanRead => true;

        public override bool CanSeek => true;

        public override bool CanWrite => false;

        public override long Length => _inner.Position;

        public override long Position
        {
            get => _inner.Position;
            set => _inner.Position = value;
        }

        public override int Read(byte[] buffer, int offset, int count) => _inner.Read(buffer, offset, count);

        public override long Seek(long offset, SeekOrigin origin) => _inner.Seek(offset, origin);

        public override void Flush()
        {
        }

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }

    /// <summary>A stream of a network, in small pieces.</summary>
    /// <param name="inner">The bytes.</param>
    /// <param name="asynchronous">Whether only its asynchronous members may be used; else only the others.</param>
    private sealed class OneWay(MemoryStream inner, bool asynchronous) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => asynchronous ? throw new NotSupportedException("not this one") : inner.Read(buffer, offset, Math.Min(count, 777));

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            return await inner.ReadAsync(buffer[..Math.Min(buffer.Length, 777)], cancellationToken);
        }

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("not this one");

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            await inner.WriteAsync(buffer, cancellationToken);
        }

        public override void Flush() => throw new NotSupportedException("not this one");

        public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }

    private sealed class Immediate(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
