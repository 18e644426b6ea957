// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Answers;

/// <summary>Adds results of tools to a conversation.</summary>
internal static class ToolResults
{
    /// <param name="conversation">That they go into.</param>
    /// <param name="fields">Of the result.</param>
    /// <param name="idField">Which of them has the call's id; it may be left out where the tool tells of the call.</param>
    /// <param name="result">As text.</param>
    /// <param name="tool">Its name, which may be empty, where the interface tells results by it; else null.</param>
    /// <exception cref="RequestException">It names no call and there is none that it could answer. The library would speak of a message of its own, whose place is another.</exception>
    public static void AddResult(this Conversation conversation, JsonFields fields, string idField, string result, string? tool = null)
    {
        string id = tool is null ? fields.RequiredText(idField) : fields.Text(idField) ?? "";
        if (id.Length == 0 && !conversation.HasOpenCall)
        {
            throw new RequestException(StatusCodes.Status400BadRequest, $"{fields.PathOf(idField)} takes the id of a call: this result names none, and every call before it is answered.", fields.PathOf(idField), "invalid_value");
        }

        conversation.AddResult(KimiMessage.Tool(id, result), tool);
    }
}
