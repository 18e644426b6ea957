// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Server.Answers;

/// <summary>
/// Requests with schemas are made ready by few threads at once: to compile a schema can take seconds of a core, and requests that
/// have none, and whether the server is alive, are answered meanwhile.
/// </summary>
internal sealed class SchemaTurns : IDisposable
{
    private static readonly HashSet<string> s_formats = ["response_format", "text", "format", "output_format", "output_config"];
    private readonly SemaphoreSlim _turns = new(Math.Max(1, Environment.ProcessorCount / 2));
    private int _waiting;

    /// <summary>Requests that wait for a turn.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>Whether a request's body may hold a schema for its answer.</summary>
    public static bool HasFormat(JsonElement body) =>
        body.ValueKind == JsonValueKind.Object && body.EnumerateObject().Any(f => f.Value.ValueKind == JsonValueKind.Object && s_formats.Contains(f.Name));

    /// <param name="needed">Whether it has to wait for a turn.</param>
    /// <param name="prepare">Done in it.</param>
    /// <param name="cancellationToken">Ends the waiting.</param>
    public async Task<T> RunAsync<T>(bool needed, Func<Task<T>> prepare, CancellationToken cancellationToken)
    {
        if (!needed)
        {
            return await prepare().ConfigureAwait(false);
        }

        Interlocked.Increment(ref _waiting);
        try
        {
            await _turns.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Decrement(ref _waiting);
        }

        try
        {
            return await prepare().ConfigureAwait(false);
        }
        finally
        {
            _turns.Release();
        }
    }

    public void Dispose() => _turns.Dispose();
}
