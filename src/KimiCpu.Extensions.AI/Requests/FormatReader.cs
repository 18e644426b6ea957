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
    private readonly ConcurrentDictionary<string, KimiConstraint> _schemas = new(StringComparer.Ordinal);

    /// <exception cref="NotSupportedException">The format is not known.</exception>
    /// <exception cref="KimiConstraintException">The schema cannot be enforced.</exception>
    public GenerationOptions Read(ChatResponseFormat? format, GenerationOptions generation) => format switch
    {
        null => generation,
        ChatResponseFormatText => generation with { Constraint = null },
        ChatResponseFormatJson { Schema: { } schema } => generation with { Constraint = Compile(schema) },
        ChatResponseFormatJson => generation with { Constraint = s_json.Value },
        _ => throw new NotSupportedException($"ChatOptions.ResponseFormat ({format.GetType().Name}): use ChatResponseFormat.Text, Json or ForJsonSchema."),
    };

    private KimiConstraint Compile(JsonElement schema)
    {
        string text = schema.GetRawText();
        if (_schemas.TryGetValue(text, out KimiConstraint? known))
        {
            return known;
        }

        var constraint = KimiConstraint.JsonSchema(schema);
        if (_schemas.Count >= MostKept)
        {
            _schemas.Clear();
        }

        return _schemas.GetOrAdd(text, constraint);
    }
}
