// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.AI;

namespace KimiCpu.Server.Answers;

/// <summary>Parts of requests that several dialects have.</summary>
/// <param name="options">Limits.</param>
/// <param name="formats">Keeps compiled schemas.</param>
/// <param name="cancellationToken">Ends what takes long of the reading.</param>
internal sealed class RequestParts(KimiServerOptions options, FormatReader formats, CancellationToken cancellationToken)
{
    public KimiServerOptions Options => options;

    /// <summary>Ends the encoding of a text.</summary>
    public CancellationToken Cancelled => cancellationToken;

    /// <summary>A function in the form <c>{"type":"function","function":{…}}</c>.</summary>
    public KimiTool Function(JsonFields tool)
    {
        if (tool.Text("type") is { } type && type != "function")
        {
            throw tool.Unsupported("type", $"tools are functions; found '{type}'.");
        }

        JsonFields function = tool.RequiredFields("function");
        return Tool(function, "name", "description", "parameters");
    }

    /// <summary>A tool whose parts have these names.</summary>
    public KimiTool Tool(JsonFields fields, string name, string description, string parameters)
    {
        string called = fields.RequiredText(name);
        if (called.Length is 0 or > 256 || called.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('_' or '-' or '.')))
        {
            throw fields.Invalid(name, "1 … 256 letters, digits, _, - and .");
        }

        JsonElement? schema = fields.Fields(parameters)?.Element;
        CheckSize(schema, fields.PathOf(parameters));
        return new KimiTool(called, fields.Text(description), schema);
    }

    /// <summary>Refuses two tools of one name, which could not be told apart.</summary>
    public static IReadOnlyList<KimiTool> Distinct(IReadOnlyList<KimiTool> tools) =>
        tools.GroupBy(t => t.Name).FirstOrDefault(g => g.Count() > 1) is { } twice
            ? throw new RequestException(StatusCodes.Status400BadRequest, $"Two tools are called '{twice.Key}'.", "tools", "invalid_value")
            : tools;

    /// <summary>Holds the answer to a schema, or to any JSON object.</summary>
    /// <param name="schema">Null for any object.</param>
    /// <param name="path">Of the schema.</param>
    /// <param name="generation">Gets the constraint.</param>
    public GenerationOptions Json(JsonElement? schema, string path, GenerationOptions generation)
    {
        CheckSize(schema, path);
        try
        {
            return formats.Read(schema is { } given ? ChatResponseFormat.ForJsonSchema(given) : ChatResponseFormat.Json, generation, cancellationToken);
        }
        catch (KimiConstraintException e)
        {
            throw new RequestException(StatusCodes.Status400BadRequest, e.Message, path, "unsupported_schema");
        }
    }

    /// <summary>The seed of the answer; null for any, which clients of other servers for open models ask for by -1: it is the default that some send along.</summary>
    /// <remarks>Some clients draw one of 64 bits without a sign.</remarks>
    public static ulong? Seed(JsonFields fields) => fields.Whole("seed", long.MinValue, ulong.MaxValue) is { } seed and not -1
        ? seed < 0 ? unchecked((ulong)(long)seed) : (ulong)seed
        : null;

    /// <summary>The least share of the most likely token's probability. A whole one leaves only what is as likely, and so does the largest share that options take.</summary>
    public static float? MinP(JsonFields fields) => (float?)fields.Number("min_p", 0, 1) is { } share ? Math.Min(share, MathF.BitDecrement(1)) : null;

    /// <summary>A level of effort becomes a budget, since the models know none.</summary>
    /// <param name="fields">Of the request.</param>
    /// <param name="name">Of the field with the level.</param>
    /// <param name="generation">Gets the budget.</param>
    public static GenerationOptions Effort(JsonFields fields, string name, GenerationOptions generation) => fields.Text(name) switch
    {
        null => generation,
        "none" => Effort(ReasoningEffort.None, generation),
        "minimal" or "low" => Effort(ReasoningEffort.Low, generation),
        "medium" => Effort(ReasoningEffort.Medium, generation),
        "high" or "xhigh" or "max" => Effort(ReasoningEffort.High, generation),
        _ => throw fields.Invalid(name, "none, minimal, low, medium, high, xhigh or max"),
    };

    public static GenerationOptions Effort(ReasoningEffort effort, GenerationOptions generation) =>
        ReasoningReader.Read(new ReasoningOptions { Effort = effort }, generation);

    private void CheckSize(JsonElement? schema, string path)
    {
        if (schema is { } given && JsonMarshal.GetRawUtf8Value(given).Length > options.MaxSchemaBytes)
        {
            throw new RequestException(StatusCodes.Status400BadRequest, $"{path} has more than the {options.MaxSchemaBytes:N0} bytes that this server takes.", path, "schema_too_large");
        }
    }
}
