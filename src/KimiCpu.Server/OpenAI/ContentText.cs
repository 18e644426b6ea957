// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>What a field says that is either a text or a list of parts.</summary>
/// <param name="textTypes">Of the parts whose <c>text</c> it is.</param>
internal sealed class ContentText(params string[] textTypes)
{
    /// <summary>Most parts of a field, and most calls of a message.</summary>
    public const int MostParts = 1024;

    /// <param name="owner">Has the field.</param>
    /// <param name="name">Of the field.</param>
    /// <param name="isResult">Whether it is a tool's, of which parts that are no text are named.</param>
    public string Read(JsonFields owner, string name, bool isResult = false)
    {
        if (owner.Get(name) is not { ValueKind: JsonValueKind.Array })
        {
            return owner.RequiredText(name);
        }

        var text = new PartsText();
        foreach ((JsonElement element, string path) in owner.Items(name, MostParts))
        {
            var part = new JsonFields(element, path);
            string type = part.RequiredText("type");
            if (textTypes.Contains(type))
            {
                text.Add(part.RequiredText("text"));
            }
            else if (type == "refusal")
            {
                text.Add(part.RequiredText("refusal"));
            }
            else if (isResult)
            {
                text.AddLine(PartNames.Of(part, type));
            }
            else
            {
                throw part.Unsupported("type", $"the model reads text only; found '{type}'.");
            }
        }

        return text.ToString();
    }
}
