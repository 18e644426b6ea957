// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Sessions;

namespace KimiCpu.Tests.Sessions;

/// <summary>The first save or load of a model, which has to tell it apart from others.</summary>
[TestFixture]
internal sealed class FirstSessionStoreTests
{
    /// <summary>A step may take minutes where a long prompt's experts come from a drive.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task It_waits_for_no_step(CancellationToken cancellationToken)
    {
        string path = Path.Combine(Path.GetTempPath(), $"kimicpu-{Guid.NewGuid():N}");
        using var held = new ManualResetEventSlim();
        using var free = new ManualResetEventSlim();
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        var options = new GenerationOptions { MaxTokens = 1, PromptProgress = new Holder(held, free, cancellationToken) };
        Task call = Task.Run(() => model.Generate(new[] { 1, 2, 3 }.AsMemory(), options, CancellationToken.None), CancellationToken.None);
        held.Wait(cancellationToken);
        try
        {
            Assert.That(async () => await InTime(() => model.LoadSession(path, cancellationToken: new CancellationToken(true))), Throws.InstanceOf<OperationCanceledException>());
            Assert.That(async () => await InTime(() => session.Save(path, cancellationToken: new CancellationToken(true))), Throws.InstanceOf<OperationCanceledException>());
            Assert.That(async () => await InTime(() => model.LoadSession(path)), Throws.TypeOf<FileNotFoundException>());
            await InTime(() => session.Save(path));
            Assert.That(File.Exists(path));
            Assert.That((call.IsCompleted, cancellationToken.IsCancellationRequested), Is.EqualTo((false, false)));
        }
        finally
        {
            free.Set();
            File.Delete(path);
        }

        await call;

        Task InTime(Action use) => Task.Run(use, CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(20), cancellationToken);
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Who_cancels_does_not_wait_until_it_is_made_and_the_others_share_it(CancellationToken cancellationToken)
    {
        using var free = new ManualResetEventSlim();
        int made = 0;
        var first = new FirstSessionStore(() =>
        {
            Interlocked.Increment(ref made);
            free.Wait(cancellationToken);
            return Store();
        });
        using var source = new CancellationTokenSource();
        Task<SessionStore> cancelled = Task.Run(() => first.Get(source.Token), CancellationToken.None);
        Task<SessionStore>[] others = [.. Enumerable.Range(0, 3).Select(_ => Task.Run(() => first.Get(cancellationToken), CancellationToken.None))];
        source.CancelAfter(50);
        Assert.That(async () => await cancelled.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        free.Set();
        SessionStore[] stores = await Task.WhenAll(others).WaitAsync(cancellationToken);
        Assert.That(stores, Is.All.SameAs(first.Get(cancellationToken)));
        Assert.That(made, Is.EqualTo(1));
    }

    [Test]
    public void What_fails_is_made_again()
    {
        int made = 0;
        var first = new FirstSessionStore(() => made++ == 0 ? throw new IOException("away") : Store());
        Assert.That(() => first.Get(CancellationToken.None), Throws.TypeOf<IOException>());
        Assert.That(first.Get(CancellationToken.None), Is.Not.Null);
        Assert.That(made, Is.EqualTo(2));
    }

    private static SessionStore Store() => new(null!, new SessionHeader(1, "", "", 0, 64, 0, 0), 1, null!, null!);

    private sealed class Holder(ManualResetEventSlim held, ManualResetEventSlim free, CancellationToken cancellationToken) : IProgress<PromptProgress>
    {
        public void Report(PromptProgress value)
        {
            held.Set();
            free.Wait(cancellationToken);
        }
    }
}
