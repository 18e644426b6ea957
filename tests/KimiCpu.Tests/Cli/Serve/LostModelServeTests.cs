// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Serve;
using KimiCpu.Cli.Terminal;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Tests.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Cli.Serve;

/// <summary>A server whose model is the test's.</summary>
[TestFixture]
internal sealed class LostModelServeTests
{
    /// <summary>The process could only refuse calls for ever; what watches it starts another one.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task A_server_ends_with_the_reason_when_its_model_is_lost(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        string? failure = null;
        IKimiModel losing = StandInModel.Of(model, m => m.Name == $"get_{nameof(IKimiModel.Activity)}" ? new KimiModelActivity { Failure = Volatile.Read(ref failure) } : null);
        var settings = new ServeSettings();
        settings.Set("Server:Port", 0);
        var output = new StringWriter();
        Task serving = KimiServer.RunAsync(
            null, settings, new CliStreams(Stream.Null, TextWriter.Synchronized(output), TextWriter.Null, IsTerminal: false), services => services.AddSingleton(s => Host(s, losing)), cancellationToken);
        Assert.That(() => serving.IsCompleted || output.ToString().Contains("Serving", StringComparison.Ordinal), Is.True.After(60_000, 20));
        Assert.That(serving.IsCompleted, Is.False);
        Volatile.Write(ref failure, "GPU 0 was lost, so every call fails from here on.");
        Assert.That(async () => await serving, Throws.TypeOf<KimiException>().With.Message.EqualTo(failure));
    }

    private static ModelHost Host(IServiceProvider services, IKimiModel model) =>
        new(services.GetRequiredService<IOptionsMonitor<KimiOptions>>(), services.GetRequiredService<IOptionsMonitorCache<KimiOptions>>(), Options.DefaultName, loggers: null) { Opener = (_, _, _) => Task.FromResult(model) };
}
