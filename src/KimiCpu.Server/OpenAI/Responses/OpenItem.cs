// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>An item of the output while it is streamed: the events that begin it, let it grow and end it.</summary>
/// <param name="index">Among the items of the output.</param>
/// <param name="id">Of the item.</param>
internal abstract class OpenItem(int index, string id)
{
    /// <summary>The type of the event that ends an item.</summary>
    public const string Done = "response.output_item.done";

    protected int Index => index;

    protected string Id => id;

    public abstract IEnumerable<JsonObject> Begin();

    /// <param name="status">Of the item, from now on.</param>
    public abstract IEnumerable<JsonObject> End(string status);

    /// <summary>An event that lets it grow by nothing, for pauses. It is the same all along, also while the item grows.</summary>
    public abstract JsonObject Nothing();

    /// <summary>The item as it is now.</summary>
    public abstract JsonObject Item(string status);

    protected JsonObject ItemEvent(string type, string status) => new() { ["type"] = type, ["output_index"] = index, ["item"] = Item(status) };

    /// <summary>An event about something within the item.</summary>
    protected JsonObject InnerEvent(string type) => new() { ["type"] = type, ["item_id"] = id, ["output_index"] = index };
}
