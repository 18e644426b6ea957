// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>The ecosystem's JSON, on one line and with characters as they are: every blank and every escape would be read by the model.</summary>
internal static class CompactJson
{
    private static readonly JsonSerializerOptions s_options = MakeOptions();

    /// <summary>How arguments of calls are read and written.</summary>
    public static JsonTypeInfo<IDictionary<string, object?>> Arguments { get; } = (JsonTypeInfo<IDictionary<string, object?>>)s_options.GetTypeInfo(typeof(IDictionary<string, object?>));

    /// <summary>How contents are read, of the kind that each names.</summary>
    public static JsonTypeInfo<AIContent> Content { get; } = (JsonTypeInfo<AIContent>)s_options.GetTypeInfo(typeof(AIContent));

    /// <exception cref="NotSupportedException">The type has no JSON form.</exception>
    public static string Write(object value) => JsonSerializer.Serialize(value, s_options.GetTypeInfo(value.GetType()));

    private static JsonSerializerOptions MakeOptions()
    {
        var options = new JsonSerializerOptions(AIJsonUtilities.DefaultOptions) { WriteIndented = false, Encoder = new PlainJsonEncoder() };
        options.MakeReadOnly();
        return options;
    }
}
