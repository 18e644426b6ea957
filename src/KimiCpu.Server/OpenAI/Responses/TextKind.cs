// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Output that is text: how its item, its one part and its events are called.</summary>
/// <param name="ItemType">Of the item.</param>
/// <param name="IdPrefix">Of the item's id.</param>
/// <param name="Parts">The item's field with its parts; events count in <c>…_index</c>.</param>
/// <param name="PartType">Of the part.</param>
/// <param name="PartEvent">Begins the names of events about the part.</param>
/// <param name="TextEvent">Begins the names of events about its text.</param>
internal sealed record TextKind(string ItemType, string IdPrefix, string Parts, string PartType, string PartEvent, string TextEvent)
{
    public static TextKind Message { get; } = new("message", "msg", "content", "output_text", "response.content_part", "response.output_text");

    public static TextKind Reasoning { get; } = new("reasoning", "rs", "content", "reasoning_text", "response.content_part", "response.reasoning_text");

    public static TextKind Summary { get; } = new("reasoning", "rs", "summary", "summary_text", "response.reasoning_summary_part", "response.reasoning_summary_text");

    /// <param name="id">Of the item.</param>
    /// <param name="status">How far it is.</param>
    /// <param name="part">Null as long as there is none.</param>
    public JsonObject Item(string id, string status, JsonObject? part)
    {
        var item = new JsonObject { ["id"] = id, ["type"] = ItemType, ["status"] = status };
        item[this == Message ? "role" : "summary"] = this == Message ? "assistant" : new JsonArray();
        item[Parts] = part is null ? [] : new JsonArray(part);
        return item;
    }

    /// <param name="text">All of it.</param>
    /// <param name="logProbabilities">Of its tokens.</param>
    public JsonObject Part(string text, JsonArray logProbabilities)
    {
        var part = new JsonObject { ["type"] = PartType, ["text"] = text };
        if (this == Message)
        {
            (part["annotations"], part["logprobs"]) = (new JsonArray(), logProbabilities);
        }

        return part;
    }
}
