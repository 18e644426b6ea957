// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace KimiCpu.Server.Http;

/// <summary>Writes JSON on one line; letters of all languages stay as they are, since no answer goes into a page of HTML.</summary>
internal static class JsonText
{
    public static JsonWriterOptions Options { get; } = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static byte[] Bytes(JsonNode node)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            node.WriteTo(json);
        }

        return buffer.ToArray();
    }

    public static string Of(JsonNode node) => Encoding.UTF8.GetString(Bytes(node));

    /// <summary>An array of what a list gives. A collection expression for a <see cref="JsonArray"/> warns whoever compiles an application ahead of time, since it adds values of any type.</summary>
    public static JsonArray Array(IEnumerable<JsonNode?> items) => new([.. items]);
}
