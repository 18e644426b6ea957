// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Generation;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>A message or reasoning while it is streamed; it has one part.</summary>
/// <param name="index">Among the items of the output.</param>
/// <param name="kind">Which of them.</param>
/// <param name="items">Writes log-probabilities.</param>
internal sealed class OpenText(int index, TextKind kind, OutputItems items) : OpenItem(index, OutputItems.NewId(kind.IdPrefix))
{
    private readonly StringBuilder _text = new();
    private readonly List<TokenLogProbability> _tokens = [];

    public TextKind Kind => kind;

    public override IEnumerable<JsonObject> Begin() =>
    [
        new() { ["type"] = "response.output_item.added", ["output_index"] = Index, ["item"] = kind.Item(Id, OutputItems.Running, null) },
        PartEvent("added"),
    ];

    /// <param name="text">What is new.</param>
    /// <param name="tokens">Whose log-probabilities go with it; none where none were asked for.</param>
    public JsonObject Grow(string text, IReadOnlyList<TokenLogProbability> tokens)
    {
        _text.Append(text);
        Account(tokens);
        return TextEvent("delta", "delta", text, tokens);
    }

    public override JsonObject Nothing() => TextEvent("delta", "delta", "", []);

    /// <summary>Takes tokens that wrote no text which is sent, such as the beginning of a stop sequence.</summary>
    public void Account(IEnumerable<TokenLogProbability> tokens) => _tokens.AddRange(tokens);

    public override IEnumerable<JsonObject> End(string status) =>
        [TextEvent("done", "text", _text.ToString(), _tokens), PartEvent("done"), ItemEvent(Done, status)];

    public override JsonObject Item(string status) => kind.Item(Id, status, Part());

    private JsonObject Part() => kind.Part(_text.ToString(), items.LogProbabilities(_tokens));

    private JsonObject PartEvent(string what)
    {
        JsonObject body = Inner($"{kind.PartEvent}.{what}");
        body["part"] = Part();
        return body;
    }

    private JsonObject TextEvent(string what, string field, string text, IReadOnlyList<TokenLogProbability> tokens)
    {
        JsonObject body = Inner($"{kind.TextEvent}.{what}");
        body[field] = text;
        if (kind == TextKind.Message)
        {
            body["logprobs"] = items.LogProbabilities(tokens);
        }

        return body;
    }

    private JsonObject Inner(string type)
    {
        JsonObject body = InnerEvent(type);
        body[$"{kind.Parts}_index"] = 0;
        return body;
    }
}
