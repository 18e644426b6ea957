// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Holds the answer to the format that is asked for. Schemas are compiled once; safe to use from several threads.</summary>
internal sealed class FormatReader
{
    /// <summary>Enough for the types of an application; who makes up schemas without end does not fill the memory with them.</summary>
    private const int MostKept = 64;

    private static readonly Lazy<KimiConstraint> s_json = new(KimiConstraint.Json);
    private readonly ConcurrentDictionary<string, Compiled> _schemas = new(StringComparer.Ordinal);

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
        ChatResponseFormatJson { Schema: { } schema } => generation with { Constraint = Compile(schema, cancellationToken) },
        ChatResponseFormatJson => generation with { Constraint = s_json.Value },
        _ => throw new NotSupportedException($"ChatOptions.ResponseFormat ({format.GetType().Name}): use ChatResponseFormat.Text, Json or ForJsonSchema."),
    };

    private KimiConstraint Compile(JsonElement schema, CancellationToken cancellationToken)
    {
        string text = schema.GetRawText();
        Compiled compiled = _schemas.TryGetValue(text, out Compiled? known) ? known : Compiled.Of(schema, cancellationToken);

        // Constraints grow while they are used, so all are looked at, whichever is asked for.
        if ((known is null && _schemas.Count >= MostKept) || _schemas.Sum(s => s.Value.Constraint?.Bytes ?? 0) > MostBytes)
        {
            _schemas.Clear();
        }

        compiled = _schemas.GetOrAdd(text, compiled);
        return compiled.Constraint ?? throw new KimiConstraintException(compiled.Refusal!);
    }

    /// <summary>A schema's constraint, or why it cannot be one: to find out takes as long.</summary>
    private sealed record Compiled(KimiConstraint? Constraint, string? Refusal)
    {
        public static Compiled Of(JsonElement schema, CancellationToken cancellationToken)
        {
            try
            {
                return new Compiled(KimiConstraint.JsonSchema(schema, cancellationToken), null);
            }
            catch (KimiConstraintException e)
            {
                return new Compiled(null, e.Message);
            }
        }
    }
}
