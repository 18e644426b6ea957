// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Server.Answers;

namespace KimiCpu.Server.Ollama;

/// <summary>
/// The model as <c>/api/tags</c>, <c>/api/ps</c> and <c>/api/show</c> describe it. Clients count on every field that Ollama always sends: some take no list
/// without them, and Ollama's own fails.
/// </summary>
internal static class ModelDescription
{
    /// <summary>How much longer it stays open. Ollama's client shows more than twenty years as forever, and a time that has passed as an end.</summary>
    private const int Years = 100;

    /// <summary>In the list of models that there are. Of one that is not open yet it is not known how large it is.</summary>
    public static JsonObject Listed(ServedModel model)
    {
        JsonObject listed = Of(model);
        listed["modified_at"] = ModifiedAt(model);
        return listed;
    }

    /// <summary>In the list of models that are open.</summary>
    /// <param name="model">Whose name it is.</param>
    /// <param name="info">What is open.</param>
    public static JsonObject Running(ServedModel model, KimiModelInfo info)
    {
        JsonObject running = Of(model);
        running["expires_at"] = DateTimeOffset.UtcNow.AddYears(Years).ToString("O", CultureInfo.InvariantCulture);

        // What of it a GPU has is not asked for: most of the weights are never there.
        running["size_vram"] = 0;
        running["context_length"] = info.ContextLength;
        return running;
    }

    public static string ModifiedAt(ServedModel model) => model.Since.ToString("O", CultureInfo.InvariantCulture);

    /// <param name="info">Null where the model is not open.</param>
    public static JsonObject Details(KimiModelInfo? info) => new()
    {
        ["parent_model"] = "",
        ["format"] = "safetensors",
        ["family"] = "kimi-k2",
        ["families"] = new JsonArray((JsonNode)"kimi-k2"),
        ["parameter_size"] = info is null ? "" : Short(info.ParameterCount),
        ["quantization_level"] = info?.ExpertFormat ?? "",
    };

    private static JsonObject Of(ServedModel model)
    {
        KimiModelInfo? info = model.IfOpen(out _)?.Info;

        // Clients add the tag to what they list without one, and then look for it in the list.
        string name = model.Name.Contains(':', StringComparison.Ordinal) ? model.Name : model.Name + ServedModel.Tag;
        return new JsonObject
        {
            ["name"] = name,
            ["model"] = name,
            ["size"] = info?.WeightBytes ?? 0,
            ["digest"] = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name))),
            ["details"] = Details(info),
        };
    }

    /// <summary>A number of parameters as Ollama writes them.</summary>
    private static string Short(long count) => count switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e9:F1}B"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e6:F1}M"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{count / 1e3:F1}K"),
    };
}
