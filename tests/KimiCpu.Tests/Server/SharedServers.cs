// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Server;

/// <summary>The servers that fixtures share, since to open a model takes longer than most of their tests. Whoever changes a server's state starts one of his own.</summary>
[SetUpFixture]
internal sealed class SharedServers
{
    private static readonly Lazy<Task<RunningServer>> s_plain = new(() => RunningServer.StartAsync());

    private static readonly Lazy<Task<RunningServer>> s_guarded = new(() => RunningServer.StartAsync(
        o =>
        {
            o.ApiKeys.Add(RunningServer.Key);
            o.ApiKeys.Add("key-2");
            o.AllowedOrigins.Add("https://chat.example.com");
        },
        o => (o.MaxRunning, o.MaxWaiting) = (1, 1)));

    /// <summary>With the options that a server has by itself.</summary>
    public static Task<RunningServer> Plain => s_plain.Value;

    /// <summary>Asks for a key, <c>key-1</c> or <c>key-2</c>, lets the pages of <c>https://chat.example.com</c> ask, and has room for one call that runs and one that waits.</summary>
    public static Task<RunningServer> Guarded => s_guarded.Value;

    [OneTimeTearDown]
    public async Task Stop()
    {
        foreach (Lazy<Task<RunningServer>> server in new[] { s_plain, s_guarded }.Where(s => s.IsValueCreated))
        {
            await (await server.Value).DisposeAsync();
        }
    }
}
