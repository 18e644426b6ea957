// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Sessions;
using KimiCpu.Tests.Generation;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Tokens;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu.Tests.Sessions;

/// <summary>A call that has room only when a session's file is done, whose progress the test holds. A batch is a page.</summary>
[TestFixture]
internal sealed class SessionPagesTests
{
    private const int Pages = 8;
    private const int Tokens = 6 * KvPage.Tokens;

    private readonly ManualResetEventSlim _held = new();
    private readonly ManualResetEventSlim _free = new();
    private ModelUnderTest _model = null!;
    private KvCache _cache = null!;
    private GenerationEngine _engine = null!;
    private SessionStore _store = null!;
    private string _path = "";

    [SetUp]
    public void Open()
    {
        _model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, threads: 1);
        _cache = new KvCache(_model.HotPath, Pages * _model.HotPath.BytesPerPage, Pages * KvPage.Tokens);
        _engine = Engines.Make(_model.Forward, _cache, 64, new FakeMemory());
        var header = new SessionHeader(1, "tiny-int4", "", 0, KvPage.Tokens, 0, 0);
        _store = new SessionStore(_engine, header, _model.Vocabulary, (_, _, _, _) => throw new InvalidOperationException("nothing is lost"), NullLogger.Instance, batchBytes: 1);
        _path = Path.Combine(Path.GetTempPath(), $"kimicpu-{Guid.NewGuid():N}");
        _held.Reset();
        _free.Reset();
    }

    [TearDown]
    public void Close()
    {
        _free.Set();
        _engine.Dispose();
        _model.Dispose();
        File.Delete(_path);
    }

    [OneTimeTearDown]
    public void DisposeEvents()
    {
        _held.Dispose();
        _free.Dispose();
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_call_waits_for_the_pages_of_a_save_whose_session_is_disposed_of(CancellationToken cancellationToken)
    {
        (Task saving, GenerationJob call) = await Waiting(cancellationToken, cancellationToken);
        _free.Set();
        Assert.That((await call.Completion.WaitAsync(cancellationToken)).Tokens, Has.Count.EqualTo(3));
        await saving;
    }

    /// <summary>What is saved is what the session kept when that began, and the call has its pages as soon as that is done.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_call_of_a_session_waits_for_the_pages_that_it_gives_up_while_they_are_saved(CancellationToken cancellationToken)
    {
        using SessionState session = await Session();
        Task saving = Save(session);
        _held.Wait(cancellationToken);
        GenerationJob call = Submit(cancellationToken, session);
        Assert.That(await HasEnded(call, cancellationToken), Is.False);
        _free.Set();
        Assert.That((await call.Completion.WaitAsync(cancellationToken)).Tokens, Has.Count.EqualTo(3));
        await saving;
        Assert.That(session.Length, Is.EqualTo(302));
        session.Dispose();
        using SessionState loaded = _store.Load(new SessionPlace(_path), out byte[] _, null, cancellationToken);
        Assert.That(loaded.Length, Is.EqualTo(Tokens));
    }

    /// <summary>The call was to take the place of what it gives up, so it does not wait for others' pages instead.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_session_has_what_its_call_left_it_when_that_is_cancelled_while_it_waits(CancellationToken cancellationToken)
    {
        using SessionState session = await Session();
        Task saving = Save(session);
        _held.Wait(cancellationToken);
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        GenerationJob call = Submit(source.Token, session);
        Assert.That(await HasEnded(call, cancellationToken), Is.False);
        await source.CancelAsync();
        Assert.That(async () => await call.Completion.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That((session.Length, saving.IsCompleted), Is.EqualTo((0, false)), "they begin with different tokens");
        _free.Set();
        await saving;
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_call_that_waits_for_a_save_can_be_cancelled(CancellationToken cancellationToken)
    {
        using var source = new CancellationTokenSource();
        (Task saving, GenerationJob call) = await Waiting(source.Token, cancellationToken);
        await source.CancelAsync();
        Assert.That(async () => await call.Completion.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That((saving.IsCompleted, cancellationToken.IsCancellationRequested), Is.EqualTo((false, false)));
        _free.Set();
        await saving;
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Pages_of_a_session_that_stays_open_are_not_waited_for(CancellationToken cancellationToken)
    {
        using SessionState session = await Session();
        Task saving = Save(session);
        _held.Wait(cancellationToken);
        GenerationJob call = Submit(cancellationToken);
        Assert.That(async () => await call.Completion.WaitAsync(cancellationToken), Throws.TypeOf<ContextLengthException>());
        Assert.That(saving.IsCompleted, Is.False);
        _free.Set();
        await saving;
    }

    /// <summary>The last page is what is wrong with it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_call_waits_for_the_pages_of_a_session_that_is_loaded_until_that_is_done([Values] bool damaged, CancellationToken cancellationToken)
    {
        using (SessionState session = await Session())
        {
            _store.Save(new SessionPlace(_path), session, default, null, cancellationToken);
        }

        if (damaged)
        {
            byte[] bytes = await File.ReadAllBytesAsync(_path, cancellationToken);
            bytes[^1] ^= 1;
            await File.WriteAllBytesAsync(_path, bytes, cancellationToken);
        }

        Task<SessionState> loading = Task.Run(() => _store.Load(new SessionPlace(_path), out byte[] _, new Holder(this), CancellationToken.None), CancellationToken.None);
        _held.Wait(cancellationToken);
        GenerationJob call = Submit(cancellationToken);
        Assert.That(await HasEnded(call, cancellationToken), Is.False);
        _free.Set();
        if (damaged)
        {
            Assert.That(async () => await loading, Throws.TypeOf<SessionFileException>());
            Assert.That((await call.Completion.WaitAsync(cancellationToken)).Tokens, Has.Count.EqualTo(3));
        }
        else
        {
            using SessionState loaded = await loading;
            Assert.That(async () => await call.Completion.WaitAsync(cancellationToken), Throws.TypeOf<ContextLengthException>().With.Message.Contains("open sessions"));
        }
    }

    /// <summary>It is checked all the same, and where it is damaged nothing is kept of it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_session_that_the_cache_knows_is_loaded_without_room_for_it_again([Values] bool damaged, CancellationToken cancellationToken)
    {
        _free.Set();
        using (SessionState session = await Session())
        {
            _store.Save(new SessionPlace(_path), session, default, null, cancellationToken);
        }

        using SessionState first = _store.Load(new SessionPlace(_path), out byte[] _, null, cancellationToken);
        if (damaged)
        {
            byte[] bytes = await File.ReadAllBytesAsync(_path, cancellationToken);
            bytes[^1] ^= 1;
            await File.WriteAllBytesAsync(_path, bytes, cancellationToken);
            Assert.That(() => _store.Load(new SessionPlace(_path), out byte[] _, null, cancellationToken), Throws.TypeOf<SessionFileException>());
        }
        else
        {
            using SessionState second = _store.Load(new SessionPlace(_path), out byte[] _, null, cancellationToken);
            Assert.That(second.HeldIn(_cache), Is.EqualTo(first.HeldIn(_cache)));
        }

        Assert.That(await _engine.UseCache(cache => cache.FreePages), Is.EqualTo(Pages - (Tokens / KvPage.Tokens)));
    }

    /// <summary>A session is saved and disposed of meanwhile, and a call waits for its pages.</summary>
    /// <param name="ofCall">Cancels the call.</param>
    /// <param name="cancellationToken">Ends the test.</param>
    private async Task<(Task Saving, GenerationJob Call)> Waiting(CancellationToken ofCall, CancellationToken cancellationToken)
    {
        SessionState session = await Session();
        Task saving = Save(session);
        _held.Wait(cancellationToken);
        session.Dispose();
        GenerationJob call = Submit(ofCall);
        Assert.That(await HasEnded(call, cancellationToken), Is.False);
        return (saving, call);
    }

    private static async Task<bool> HasEnded(GenerationJob call, CancellationToken cancellationToken)
    {
        await Task.WhenAny(call.Completion, Task.Delay(200, cancellationToken));
        return call.Completion.IsCompleted;
    }

    private Task Save(SessionState session) => Task.Run(() => _store.Save(new SessionPlace(_path), session, default, new Holder(this), CancellationToken.None), CancellationToken.None);

    private async Task<SessionState> Session()
    {
        KvPrefix prefix = await _engine.UseCache(cache =>
        {
            KvSequence sequence = cache.CreateSequence(shares: true);
            Assert.That(sequence.TryExtend(Tokens));
            sequence.Advance(Enumerable.Range(0, Tokens).Select(t => t % 500).ToArray());
            return sequence.Leave();
        });
        return new SessionState(_engine, _cache, prefix);
    }

    /// <summary>Five pages, where two are free.</summary>
    private GenerationJob Submit(CancellationToken cancellationToken, SessionState? session = null)
    {
        var options = new GenerationOptions { Temperature = 0, MaxTokens = 3, IgnoreEndOfText = true };
        var answer = new AnswerBuilder(TokenizerCases.Tokenizer, options, new HashSet<int>(), AnswerLayout.Plain);
        var job = new GenerationJob([.. Enumerable.Range(0, 300).Select(t => 1 + (t % 7))], 3, options, answer, streamed: false, constraint: null, cancellationToken) { Session = session };
        _engine.Submit(job);
        return job;
    }

    private sealed class Holder(SessionPagesTests test) : IProgress<double>
    {
        public void Report(double value)
        {
            test._held.Set();
            test._free.Wait();
        }
    }
}
