// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace KimiCpu.Server.Http;

/// <summary>Knows when the server is to stop, and when answers that still run have to end.</summary>
internal sealed class ServerEnd : IDisposable
{
    /// <summary>What streams take to end once their answers have, and the server to stop.</summary>
    private static readonly TimeSpan s_rest = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _answers = new();
    private readonly CancellationToken _stopping;
    private readonly CancellationTokenRegistration _registration;

    /// <param name="lifetime">Of the host.</param>
    /// <param name="options">How long answers may go on.</param>
    /// <param name="host">Of the host, which aborts all connections once its own time is over, and so gets as much where it has less.</param>
    public ServerEnd(IHostApplicationLifetime lifetime, IOptions<KimiServerOptions> options, IOptions<HostOptions> host)
    {
        TimeSpan least = options.Value.ShutdownGrace + s_rest;
        if (host.Value.ShutdownTimeout != Timeout.InfiniteTimeSpan && host.Value.ShutdownTimeout < least)
        {
            host.Value.ShutdownTimeout = least;
        }

        _stopping = lifetime.ApplicationStopping;
        _registration = _stopping.Register(() => _answers.CancelAfter(options.Value.ShutdownGrace));
    }

    /// <summary>Whether no new request is taken.</summary>
    public bool IsStopping => _stopping.IsCancellationRequested;

    /// <summary>Cancelled when running answers have to end.</summary>
    public CancellationToken EndOfAnswers => _answers.Token;

    public void Dispose()
    {
        _registration.Dispose();
        _answers.Dispose();
    }
}
