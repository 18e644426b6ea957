// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Holds the answer to the format that is asked for. Compiled schemas are kept; safe to use from several threads.</summary>
internal sealed class FormatReader
{
    /// <summary>Enough for the types of an application; who makes up schemas without end does not fill the memory with them.</summary>
    private const int MostKept = 64;

    /// <summary>Of all readers, with what answers have found out about the vocabulary; strangers' schemas do not make it be forgotten.</summary>
    private static readonly Lazy<KimiConstraint> s_json = new(KimiConstraint.Json);
    private static readonly SemaphoreSlim s_turn = new(1);

    /// <summary>By hashes, since a schema may be refused for its length.</summary>
    private readonly ConcurrentDictionary<string, Compiled> _schemas = new(StringComparer.Ordinal);

    /// <summary>Compiles a schema.</summary>
    public Func<JsonElement, CancellationToken, KimiConstraint> Compiler { get; init; } = KimiConstraint.JsonSchema;

    /// <summary>Any object, which has to be compiled as well.</summary>
    public Lazy<KimiConstraint> Json { get; init; } = s_json;

    /// <summary>Bytes that compiled schemas and what they have found out may take together; the latest one is kept in any case.</summary>
    public long MostBytes { get; init; } = 256_000_000;

    /// <param name="format">Null for any text.</param>
    /// <param name="generation">Gets the constraint.</param>
    /// <param name="cancellationToken">Ends the compilation of a schema, which can take seconds.</param>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="NotSupportedException">The format is not known.</exception>
    /// <exception cref="KimiConstraintException">The schema cannot be enforced.</exception>
    public GenerationOptions Read(ChatResponseFormat? format, GenerationOptions generation, CancellationToken cancellationToken) => format switch
    {
        null => generation,
        ChatResponseFormatText => generation with { Constraint = null },
        ChatResponseFormatJson { Schema: { } schema } => generation with { Constraint = Compile(schema, HashOf(schema), cancellationToken) },
        ChatResponseFormatJson => generation with { Constraint = Json.Value },
        _ => throw Unknown(format),
    };

    /// <summary>
    /// As <see cref="Read"/>, but compiles on another thread than the caller's, and one schema at a time: calls that begin together mostly have the same,
    /// which is there then for all but the first.
    /// </summary>
    /// <inheritdoc cref="Read"/>
    public async Task<GenerationOptions> ReadAsync(ChatResponseFormat? format, GenerationOptions generation, CancellationToken cancellationToken)
    {
        if (format is ChatResponseFormatJson { Schema: null } && !Json.IsValueCreated)
        {
            return await Task.Run(() => Read(format, generation, cancellationToken), cancellationToken).ConfigureAwait(false);
        }

        if (format is not ChatResponseFormatJson { Schema: { } schema })
        {
            return Read(format, generation, cancellationToken);
        }

        // Looked up once: what others make the table forget meanwhile would be compiled here.
        string hash = HashOf(schema);
        if (_schemas.TryGetValue(hash, out Compiled? known))
        {
            return generation with { Constraint = Use(hash, known, isNew: false) };
        }

        await s_turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await Task.Run(() => generation with { Constraint = Compile(schema, hash, cancellationToken) }, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            s_turn.Release();
        }
    }

    /// <summary>A format to be read later, when its caller may have disposed of the document that its schema is of.</summary>
    /// <exception cref="NotSupportedException">The format is not known.</exception>
    public static ChatResponseFormat? Keep(ChatResponseFormat? format) => format switch
    {
        null or ChatResponseFormatText or ChatResponseFormatJson { Schema: null } => format,
        ChatResponseFormatJson { Schema: { } schema } => ChatResponseFormat.ForJsonSchema(schema.Clone()),
        _ => throw Unknown(format),
    };

    private static NotSupportedException Unknown(ChatResponseFormat format) =>
        new($"ChatOptions.ResponseFormat ({format.GetType().Name}): use ChatResponseFormat.Text, Json or ForJsonSchema.");

    private static string HashOf(JsonElement schema) => Convert.ToHexString(SHA256.HashData(JsonMarshal.GetRawUtf8Value(schema)));

    private KimiConstraint Compile(JsonElement schema, string hash, CancellationToken cancellationToken) => _schemas.TryGetValue(hash, out Compiled? known)
        ? Use(hash, known, isNew: false)
        : Use(hash, Compiled.Of(Compiler, schema, cancellationToken), isNew: true);

    /// <exception cref="KimiConstraintException">The schema was refused.</exception>
    private KimiConstraint Use(string hash, Compiled compiled, bool isNew)
    {
        // Constraints grow while they are used, so all are looked at, whichever is asked for.
        if ((isNew && _schemas.Count >= MostKept) || _schemas.Sum(s => s.Value.Constraint?.Bytes ?? 0) > MostBytes)
        {
            _schemas.Clear();
        }

        compiled = _schemas.GetOrAdd(hash, compiled);
        return compiled.Constraint ?? throw new KimiConstraintException(compiled.Refusal!);
    }

    /// <summary>A schema's constraint, or why it cannot be one: to find out takes as long.</summary>
    private sealed record Compiled(KimiConstraint? Constraint, string? Refusal)
    {
        public static Compiled Of(Func<JsonElement, CancellationToken, KimiConstraint> compiler, JsonElement schema, CancellationToken cancellationToken)
        {
            try
            {
                return new Compiled(compiler(schema, cancellationToken), null);
            }
            catch (KimiConstraintException e)
            {
                return new Compiled(null, e.Message);
            }
        }
    }
}
