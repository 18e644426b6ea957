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

/// <summary>Sessions that are saved and loaded beside a call, whose steps the test holds. A batch is a page.</summary>
[TestFixture]
internal sealed class SessionPaceTests
{
    private const int Batches = 40;
    private const int Tokens = Batches * KvPage.Tokens;
    private const int Pages = 5 * Batches;

    /// <summary>Of which the engine leaves a tenth to others.</summary>
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(200);

    private readonly ManualResetEventSlim _held = new();
    private readonly ManualResetEventSlim _free = new(true);
    private ModelUnderTest _model = null!;
    private KvCache _cache = null!;
    private GenerationEngine _engine = null!;
    private SessionStore _store = null!;
    private string _path = "";
    private volatile int _steps;
    private TimeSpan _stepTime;

    [SetUp]
    public void Open()
    {
        _model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, threads: 1);
        _cache = new KvCache(_model.HotPath, Pages * _model.HotPath.BytesPerPage, Pages * KvPage.Tokens);
        int last = _model.Weights.Shape.LayerCount - 1;
        _model.Forward.Routed = (layer, _) =>
        {
            if (layer == last)
            {
                _steps++;
                Thread.Sleep(_stepTime);
                _held.Set();
                _free.Wait();
            }
        };
        _engine = Engines.Make(_model.Forward, _cache, 16, new FakeMemory());
        var header = new SessionHeader(1, "tiny-int4", "", 0, KvPage.Tokens, 0, 0);
        _store = new SessionStore(_engine, header, _model.Vocabulary, (_, _, _, _) => throw new InvalidOperationException("nothing is lost"), NullLogger.Instance, batchBytes: 1);
        _path = Path.Combine(Path.GetTempPath(), $"kimicpu-{Guid.NewGuid():N}");
        (_stepTime, _steps) = (TimeSpan.Zero, 0);
    }

    [TearDown]
    public void Close()
    {
        _free.Set();
        _engine.Dispose();
        _model.Dispose();
        File.Delete(_path);
        _held.Reset();
    }

    [OneTimeTearDown]
    public void DisposeEvents()
    {
        _held.Dispose();
        _free.Dispose();
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_session_passes_beside_a_call_in_fewer_steps_than_it_has_batches([Values] bool load, CancellationToken cancellationToken)
    {
        using SessionState session = await Session();
        if (load)
        {
            _store.Save(new SessionPlace(_path), session, default, null, cancellationToken);
        }

        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _stepTime = s_step;
        GenerationJob call = Submit(source.Token);
        _held.Wait(cancellationToken);
        int before = _steps;
        var parts = new List<double>();

        // The drive takes its time for a file that is done, and steps go on meanwhile.
        int steps = 0;
        var progress = new Immediate(part =>
        {
            parts.Add(part);
            steps = _steps - before;
        });
        await Task.Run(
            () =>
            {
                if (load)
                {
                    using SessionState loaded = _store.Load(new SessionPlace(_path), out byte[] _, progress, cancellationToken);
                    Assert.That(loaded.Length, Is.EqualTo(Tokens));
                }
                else
                {
                    _store.Save(new SessionPlace(_path), session, default, progress, cancellationToken);
                }
            },
            cancellationToken);
        Assert.That(call.Completion.IsCompleted, Is.False);
        TestContext.Out.WriteLine($"{steps} steps");

        // Three that lie ready for each step would make 14 of them.
        Assert.That(steps, Is.LessThan(Batches / 4));
        Assert.That(parts, Has.Count.EqualTo(Batches).And.Ordered);
        Assert.That(parts[^1], Is.EqualTo(1));
        await source.CancelAsync();
    }

    /// <summary>What it has asked of the engine is done later, and nothing is left of it then.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Who_cancels_waits_for_no_step([Values] bool load, CancellationToken cancellationToken)
    {
        using SessionState session = await Session();
        if (load)
        {
            _store.Save(new SessionPlace(_path), session, default, null, cancellationToken);
        }

        int free = _engine.FreePages;
        _free.Reset();
        GenerationJob call = Submit(CancellationToken.None, tokens: 3);
        _held.Wait(cancellationToken);
        using var source = new CancellationTokenSource();
        Task waiting = Task.Run(
            () =>
            {
                if (load)
                {
                    _store.Load(new SessionPlace(_path), out byte[] _, null, source.Token);
                }
                else
                {
                    _store.Save(new SessionPlace(_path), session, default, null, source.Token);
                }
            },
            CancellationToken.None);
        source.CancelAfter(50);
        Assert.That(async () => await waiting.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(cancellationToken.IsCancellationRequested, Is.False);
        Assert.That(call.Completion.IsCompleted, Is.False, "the step is still held");
        Assert.That(File.Exists(_path), Is.EqualTo(load));
        _free.Set();
        await call.Completion.WaitAsync(cancellationToken);
        await _engine.UseCache(_ => 0).WaitAsync(cancellationToken);
        Assert.That(_engine.FreePages, Is.EqualTo(free));
    }

    /// <summary>
    /// As the batches of sessions that are saved together: all of them have come before the first step ends. A step that a busy machine makes longer than a second leaves
    /// time for more than one of them, so that another step has to show it then.
    /// </summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task However_many_want_the_cache_between_two_steps_they_have_a_tenth_of_a_step(CancellationToken cancellationToken)
    {
        _stepTime = TimeSpan.FromMilliseconds(40);
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        GenerationJob? call = null;
        int[] steps;
        int tries = 0;
        do
        {
            Assert.That(tries++, Is.LessThan(5), "one of them takes more than a tenth");
            _held.Reset();
            _free.Reset();
            call ??= Submit(source.Token);
            _held.Wait(cancellationToken);
            Task<int>[] wanted = [.. Enumerable.Range(0, 3).Select(_ => _engine.UseCache(_ =>
            {
                Thread.Sleep(100);
                return _steps;
            }))];
            _free.Set();
            steps = await Task.WhenAll(wanted).WaitAsync(cancellationToken);
            Assert.That(call.Completion.IsCompleted, Is.False);
        }
        while (steps.Distinct().Count() < steps.Length);

        await source.CancelAsync();
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_save_whose_model_is_disposed_between_two_batches_fails_and_leaves_the_file_as_it_was(CancellationToken cancellationToken)
    {
        using SessionState session = await Session();
        await File.WriteAllTextAsync(_path, "before", cancellationToken);
        var parts = new List<double>();
        Assert.That(
            () => _store.Save(new SessionPlace(_path), session, default, new Immediate(DisposeOfModel), cancellationToken),
            Throws.TypeOf<ObjectDisposedException>().With.Property(nameof(ObjectDisposedException.ObjectName)).Contains(nameof(KimiModel)));
        Assert.That(parts, Has.Count.InRange(1, PageBatches.InFlight));
        Assert.That(await File.ReadAllTextAsync(_path, cancellationToken), Is.EqualTo("before"));
        Assert.That(Directory.GetFiles(Path.GetDirectoryName(_path)!, $"{Path.GetFileName(_path)}*"), Has.Length.EqualTo(1), "nothing lies beside it");

        void DisposeOfModel(double part)
        {
            parts.Add(part);
            _engine.Dispose();
        }
    }

    /// <summary>Its only call was cancelled before anything was computed, in the cache of a GPU that was lost later.</summary>
    [Test]
    public void A_session_that_keeps_nothing_of_a_lost_cache_is_saved_as_an_empty_one()
    {
        var lost = new KvCache(_model.HotPath, Pages * _model.HotPath.BytesPerPage, Pages * KvPage.Tokens);
        using var session = new SessionState(_engine, lost, lost.CreateSequence(shares: true).Leave());
        _store.Save(new SessionPlace(_path), session, default, null, CancellationToken.None);
        using SessionState loaded = _store.Load(new SessionPlace(_path), out byte[] _, null, CancellationToken.None);
        Assert.That(loaded.Length, Is.Zero);
    }

    /// <summary>More batches than have memory at the same time, and nobody who hears of them.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Batches_come_back_as_they_were(CancellationToken cancellationToken)
    {
        using (SessionState session = await Session())
        {
            _store.Save(new SessionPlace(_path), session, default, null, cancellationToken);
        }

        await _engine.UseCache(cache =>
        {
            using KvSequence all = cache.CreateSequence();
            Assert.That(all.TryExtend(cache.PageCapacity * KvPage.Tokens));
            for (int page = 0; page < cache.PageCapacity; page++)
            {
                all.Write(page, KvPage.Tokens, PageOf(0));
            }

            return 0;
        });
        using SessionState loaded = _store.Load(new SessionPlace(_path), out byte[] _, null, cancellationToken);
        byte[] first = await File.ReadAllBytesAsync(_path, cancellationToken);
        _store.Save(new SessionPlace(_path), loaded, default, null, cancellationToken);
        Assert.That(await File.ReadAllBytesAsync(_path, cancellationToken), Is.EqualTo(first));
    }

    private byte[] PageOf(int content)
    {
        var bytes = new byte[_model.HotPath.BytesPerPage];
        Array.Fill(bytes, (byte)content);
        return bytes;
    }

    /// <summary>Pages whose contents nobody has computed, but each other ones.</summary>
    private async Task<SessionState> Session()
    {
        KvPrefix prefix = await _engine.UseCache(cache =>
        {
            KvSequence sequence = cache.CreateSequence(shares: true);
            Assert.That(sequence.TryExtend(Tokens));
            for (int page = 0; page < Batches; page++)
            {
                sequence.Write(page, KvPage.Tokens, PageOf(page + 1));
            }

            sequence.Advance(Enumerable.Range(0, Tokens).Select(t => t % 500).ToArray());
            return sequence.Leave();
        });
        return new SessionState(_engine, _cache, prefix);
    }

    private GenerationJob Submit(CancellationToken cancellationToken, int tokens = 2000)
    {
        var options = new GenerationOptions { Temperature = 0, MaxTokens = tokens, IgnoreEndOfText = true };
        var answer = new AnswerBuilder(TokenizerCases.Tokenizer, options, new HashSet<int>(), AnswerLayout.Plain);
        var job = new GenerationJob([501, 502, 503], tokens, options, answer, streamed: false, constraint: null, cancellationToken);
        _engine.Submit(job);
        return job;
    }

    private sealed class Immediate(Action<double> told) : IProgress<double>
    {
        public void Report(double value) => told(value);
    }
}
