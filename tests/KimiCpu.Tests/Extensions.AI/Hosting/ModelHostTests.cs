// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Extensions.AI.Hosting;

/// <summary>What is told of a model whose opening, or whose end, is the test's.</summary>
[TestFixture]
internal sealed class ModelHostTests
{
    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_can_run_no_call_any_more_is_neither_healthy_nor_ready(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        string? failure = null;
        IKimiModel losing = StandInModel.Of(model, m => m.Name == "get_Activity" ? new KimiModelActivity { Failure = failure } : null);
        await using ServiceProvider services = Services((_, _, _) => Task.FromResult(losing));
        var host = services.GetRequiredService<ModelHost>();
        await host.OpenAsync(cancellationToken);
        Assert.That((host.IsReadyForCalls(out ModelState state), state), Is.EqualTo((true, ModelState.Ready)));
        failure = "GPU 0 was lost, so every call fails from here on.";
        Assert.That((host.IsReadyForCalls(out state), state), Is.EqualTo((false, ModelState.Lost)));
        Assert.That(host.IfOpen(out _), Is.SameAs(losing), "for those who look at it");
        HealthReportEntry entry = (await services.GetRequiredService<HealthCheckService>().CheckHealthAsync(cancellationToken)).Entries["kimi"];
        Assert.That((entry.Status, entry.Description, entry.Data["state"]), Is.EqualTo((HealthStatus.Unhealthy, failure, "Lost")));
    }

    /// <summary>A cancellation would be taken for one of the caller's own, which it is not.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_call_that_waits_for_the_opening_hears_that_the_services_are_disposed(CancellationToken cancellationToken)
    {
        ServiceProvider services = Services(async (_, _, closing) =>
        {
            await Task.Delay(Timeout.Infinite, closing);
            throw new InvalidOperationException("It is opened without end.");
        });
        var client = services.GetRequiredService<IChatClient>();
        Task<ChatResponse> call = client.GetResponseAsync("Who are you?", cancellationToken: CancellationToken.None);
        await services.DisposeAsync();
        Assert.That(async () => await call.WaitAsync(cancellationToken), Throws.TypeOf<ObjectDisposedException>().With.Message.Contains("while the model was being opened"));
        Assert.That(async () => await client.GetResponseAsync("Who are you?", cancellationToken: CancellationToken.None), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task How_far_an_opening_was_that_failed_is_not_told_of_the_next(CancellationToken cancellationToken)
    {
        var next = new TaskCompletionSource();
        int openings = 0;
        await using ServiceProvider services = Services(async (_, how, closing) =>
        {
            if (++openings == 2)
            {
                await next.Task.WaitAsync(closing);
            }

            how.Progress!.Report(new LoadProgress("experts", 594, 594));
            throw new KimiException("The drive is gone.");
        });
        var host = services.GetRequiredService<ModelHost>();
        Assert.That(async () => await host.OpenAsync(cancellationToken), Throws.TypeOf<KimiException>());
        Assert.That(host.Progress, Is.EqualTo(new LoadProgress("experts", 594, 594)));
        Task<IKimiModel> second = host.OpenAsync(cancellationToken);
        Assert.That(host.Progress, Is.Null);
        next.SetResult();
        Assert.That(async () => await second, Throws.TypeOf<KimiException>());
    }

    /// <summary>It may take minutes, or fail, and the caller would hear of that in place of what is wrong with the call.</summary>
    [Test]
    public async Task A_call_that_no_model_takes_opens_none()
    {
        await using ServiceProvider services = Services((_, _, _) => throw new InvalidOperationException("It is opened."));
        var client = services.GetRequiredService<IChatClient>();
        await Assert.ThatAsync(async () => await client.GetResponseAsync("Who are you?", new ChatOptions { Temperature = -1 }), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(services.GetRequiredService<ModelHost>().State, Is.EqualTo(ModelState.Closed));
    }

    /// <summary>As a model does that is disposed of by what it calls while it computes: it stays open, of which somebody has to hear.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_cannot_be_disposed_of_says_so(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        IKimiModel busy = StandInModel.Of(model, m => m.Name == nameof(IDisposable.Dispose) ? throw new InvalidOperationException("It computes.") : null);
        ServiceProvider services = Services((_, _, _) => Task.FromResult(busy));
        await services.GetRequiredService<ModelHost>().OpenAsync(cancellationToken);
        await Assert.ThatAsync(async () => await services.DisposeAsync(), Throws.InvalidOperationException.With.Message.EqualTo("It computes."));
    }

    private static ServiceProvider Services(Func<string?, KimiModelOptions, CancellationToken, Task<IKimiModel>> opener)
    {
        IServiceCollection services = new ServiceCollection().AddLogging().AddKimi(o => o.Embedded = true).AddHealthChecks().AddKimi().Services;
        services.AddSingleton(s => new ModelHost(s.GetRequiredService<IOptionsMonitor<KimiOptions>>(), s.GetRequiredService<IOptionsMonitorCache<KimiOptions>>(), Options.DefaultName, loggers: null) { Opener = opener });
        return services.BuildServiceProvider();
    }
}
