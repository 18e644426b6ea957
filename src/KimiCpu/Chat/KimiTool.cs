// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace KimiCpu.Chat;

/// <summary>A function that the model may call. Immutable.</summary>
public sealed class KimiTool
{
    /// <summary>Describes a function.</summary>
    /// <param name="name">As the model will call it; not blank.</param>
    /// <param name="description">What it does; null for nothing to say.</param>
    /// <param name="parameters">JSON schema of an object with the arguments; null for none.</param>
    /// <exception cref="ArgumentException">The name is blank, or the schema is no object or nested too deeply.</exception>
    public KimiTool(string name, string? description = null, JsonElement? parameters = null)
        : this(Declare(name, description, parameters))
    {
    }

    /// <summary>Describes a function.</summary>
    /// <param name="name">As the model will call it; not blank.</param>
    /// <param name="description">What it does; null for nothing to say.</param>
    /// <param name="parameters">JSON schema of an object with the arguments, as text.</param>
    /// <exception cref="ArgumentException">The name is blank, or the schema is no JSON, no object, or nested too deeply.</exception>
    public KimiTool(string name, string? description, [StringSyntax(StringSyntaxAttribute.Json)] string parameters)
        : this(name, description, ParseSchema(parameters))
    {
    }

    private KimiTool(JsonElement declaration)
    {
        Declaration = declaration;
        JsonElement function = declaration.GetProperty("function");
        Name = function.GetProperty("name").GetString()!;
        Description = function.TryGetProperty("description", out JsonElement description) && description.ValueKind == JsonValueKind.String ? description.GetString() : null;
        Parameters = function.TryGetProperty("parameters", out JsonElement parameters) && parameters.ValueKind == JsonValueKind.Object ? parameters : null;
    }

    /// <summary>As the model calls it.</summary>
    public string Name { get; }

    /// <summary>What it does; null for nothing to say.</summary>
    public string? Description { get; }

    /// <summary>JSON schema of the arguments; null for none.</summary>
    public JsonElement? Parameters { get; }

    /// <summary>The object <c>{"type":"function","function":{…}}</c> that templates show, with any further members that it came with.</summary>
    internal JsonElement Declaration { get; }

    /// <summary>Its name.</summary>
    public override string ToString() => Name;

    /// <summary>Takes a tool as OpenAI's interface writes it.</summary>
    /// <param name="declaration">An object with type <c>function</c>.</param>
    /// <exception cref="FormatException">It is none, or the function has no name.</exception>
    internal static KimiTool Parse(JsonElement declaration)
    {
        bool valid = declaration.ValueKind == JsonValueKind.Object
            && (!declaration.TryGetProperty("type", out JsonElement type) || (type.ValueKind == JsonValueKind.String && type.ValueEquals("function")))
            && declaration.TryGetProperty("function", out JsonElement function)
            && function.ValueKind == JsonValueKind.Object
            && function.TryGetProperty("name", out JsonElement name)
            && name.ValueKind == JsonValueKind.String
            && !string.IsNullOrWhiteSpace(name.GetString());
        if (!valid)
        {
            throw new FormatException("A tool is an object {\"type\": \"function\", \"function\": {\"name\": …, \"description\": …, \"parameters\": …}}; only functions are supported.");
        }

        try
        {
            return new KimiTool(Copy(declaration.WriteTo));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            throw new FormatException($"A tool's declaration cannot be used: {e.Message}", e);
        }
    }

    private static JsonElement Declare(string name, string? description, JsonElement? parameters)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        if (parameters is { ValueKind: not JsonValueKind.Object } other)
        {
            throw CallersMistake.Of(new ArgumentException($"The parameters of a tool are a JSON schema, an object; found {other.ValueKind}.", nameof(parameters)));
        }

        try
        {
            return Copy(json =>
            {
                json.WriteStartObject();
                json.WriteString("type", "function");
                json.WriteStartObject("function");
                json.WriteString("name", name);
                if (description is not null)
                {
                    json.WriteString("description", description);
                }

                if (parameters is { } schema)
                {
                    json.WritePropertyName("parameters");
                    schema.WriteTo(json);
                }

                json.WriteEndObject();
                json.WriteEndObject();
            });
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Half of a surrogate pair, or more levels than the reader takes.
            throw CallersMistake.Of(new ArgumentException($"The tool '{name}' cannot be declared: {e.Message}", nameof(parameters), e));
        }
    }

    private static JsonElement ParseSchema(string parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        try
        {
            using JsonDocument document = JsonDocument.Parse(parameters);
            return document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            throw CallersMistake.Of(new ArgumentException($"The parameters of a tool are a JSON schema; this is no JSON: {e.Message}", nameof(parameters), e));
        }
    }

    /// <summary>Written and read again, so that all texts in it are valid and its depth is bounded.</summary>
    private static JsonElement Copy(Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            write(json);
        }

        using JsonDocument document = JsonDocument.Parse(buffer.ToArray());
        return document.RootElement.Clone();
    }
}
