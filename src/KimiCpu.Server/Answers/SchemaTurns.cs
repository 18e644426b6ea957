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
    private readonly SemaphoreSlim _turns = new(Math.Max(1, Environment.ProcessorCount / 2));
    private int _waiting;

    /// <summary>Requests that wait for a turn.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>Whether a request's body may hold a schema for its answer: at its place in one of the interfaces, beside which others of the same object say something else.</summary>
    public static bool HasFormat(JsonElement body) =>
        In(body, "format") is not null
        || In(body, "output_format") is not null
        || In(In(body, "output_config"), "format") is not null
        || IsMore(In(body, "response_format"))
        || IsMore(In(In(body, "text"), "format"));

    /// <param name="needed">Whether it has to wait for a turn.</param>
    /// <param name="prepare">Done in it.</param>
    /// <param name="cancellationToken">Ends the waiting.</param>
    public Task RunAsync(bool needed, Func<Task> prepare, CancellationToken cancellationToken) => RunAsync(
        needed,
        async () =>
        {
            await prepare().ConfigureAwait(false);
            return true;
        },
        cancellationToken);

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

    /// <summary>An object within another; null where there is none.</summary>
    private static JsonElement? In(JsonElement? holder, string name) =>
        holder is { ValueKind: JsonValueKind.Object } given && given.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Object ? value : null;

    /// <summary>Whether a format that has a type is another than plain text, which some clients name though it is the default.</summary>
    private static bool IsMore(JsonElement? format) =>
        format is { } given && !(given.TryGetProperty("type", out JsonElement type) && type.ValueKind == JsonValueKind.String && type.ValueEquals("text"u8));
}
