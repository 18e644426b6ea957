// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Declares the tools, and says whether the model may or must call one.</summary>
internal static class ToolsReader
{
    /// <exception cref="NotSupportedException">A tool is no function.</exception>
    public static GenerationOptions Read(ChatOptions options, GenerationOptions generation)
    {
        generation = generation with { Tools = [.. generation.Tools, .. (options.Tools ?? []).Select(Declare)] };
        return options.ToolMode switch
        {
            null => generation,
            AutoChatToolMode => generation with { ToolChoice = ToolChoice.Auto },
            NoneChatToolMode => generation with { ToolChoice = ToolChoice.None },
            RequiredChatToolMode { RequiredFunctionName: { } name } => generation with { ToolChoice = ToolChoice.Named(name) },
            RequiredChatToolMode => generation with { ToolChoice = ToolChoice.Required },
            { } mode => throw new NotSupportedException($"ChatOptions.ToolMode ({mode.GetType().Name}): use Auto, None, RequireAny or RequireSpecific."),
        };
    }

    /// <exception cref="ArgumentException">A tool is null.</exception>
    private static KimiTool Declare(AITool? tool, int index) => tool is AIFunctionDeclaration function
        ? new KimiTool(function.Name, string.IsNullOrEmpty(function.Description) ? null : function.Description, function.JsonSchema)
        : tool is null ? throw RequestArgument.Options($"ChatOptions.Tools[{index}] is null.")
        : throw new NotSupportedException($"ChatOptions.Tools: '{tool.Name}' ({tool.GetType().Name}) is no function. The model runs in this process and there is no service that could host tools; declare an AIFunction.");
}
