// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Chat;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>A call of a function while it is streamed.</summary>
/// <param name="index">Among the items of the output.</param>
/// <param name="begun">Its id and name.</param>
internal sealed class OpenCall(int index, ToolCallBegun begun) : OpenItem(index, OutputItems.NewId("fc"))
{
    private readonly StringBuilder _arguments = new();

    public override IEnumerable<JsonObject> Begin() => [ItemEvent("response.output_item.added", OutputItems.Running)];

    public JsonObject Grow(string arguments)
    {
        _arguments.Append(arguments);
        return Delta(arguments);
    }

    public override JsonObject Nothing() => Delta("");

    public override IEnumerable<JsonObject> End(string status)
    {
        JsonObject body = InnerEvent("response.function_call_arguments.done");
        (body["name"], body["arguments"]) = (begun.Name, _arguments.ToString());
        return [body, ItemEvent(Done, status)];
    }

    public override JsonObject Item(string status) => OutputItems.Call(Id, begun.Id, begun.Name, _arguments.ToString(), status);

    private JsonObject Delta(string arguments)
    {
        JsonObject body = InnerEvent("response.function_call_arguments.delta");
        body["delta"] = arguments;
        return body;
    }
}
