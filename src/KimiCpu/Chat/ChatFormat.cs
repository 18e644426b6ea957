// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>What a release's chat template does, as far as the releases of the family differ.</summary>
internal sealed record ChatFormat
{
    private const string KimiPrompt = "You are Kimi, an AI assistant created by Moonshot AI.";

    /// <summary>Kimi K2 Instruct and 0905.</summary>
    public static ChatFormat K2Instruct { get; } = new() { DefaultSystemPrompt = KimiPrompt, SortsToolKeys = true };

    public static ChatFormat K2Thinking { get; } = new() { DefaultSystemPrompt = KimiPrompt, MarksReasoning = true, SortsToolKeys = true };

    /// <summary>Kimi K2.5 and K2.6.</summary>
    public static ChatFormat K25 { get; } = new()
    {
        MarksReasoning = true,
        OpensReasoning = true,
        CanSkipReasoning = true,
        History = ReasoningHistory.OnRequest,
        TypeScriptTools = true,
        SortsToolKeys = true,
    };

    /// <summary>kimi-nano: K2.5's turns, tools as JSON.</summary>
    public static ChatFormat Nano { get; } = K25 with { TypeScriptTools = false, SortsToolKeys = false };

    /// <summary>The formats that can be asked for by name.</summary>
    public static IReadOnlyDictionary<string, ChatFormat> ByName { get; } = new Dictionary<string, ChatFormat>
    {
        ["k2-instruct"] = K2Instruct,
        ["k2-thinking"] = K2Thinking,
        ["k2.5"] = K25,
        ["k2.6"] = K25,
        ["kimi-nano"] = Nano,
    };

    /// <summary>Put before a conversation that does not begin with a system message; null for none.</summary>
    public string? DefaultSystemPrompt { get; init; }

    /// <summary>Whether the assistant's turns carry a reasoning, if only an empty one (K2 Thinking and later).</summary>
    public bool MarksReasoning { get; init; }

    /// <summary>Whether the generation prompt opens the reasoning (K2.5 and later). Otherwise the model opens it, or does not reason.</summary>
    public bool OpensReasoning { get; init; }

    /// <summary>Whether thinking can be switched off: the generation prompt then closes the reasoning at once.</summary>
    public bool CanSkipReasoning { get; init; }

    /// <summary>Whether reasoning is shown again after there was an answer without calls.</summary>
    public ReasoningHistory History { get; init; }

    /// <summary>Whether calls are shown as <c>functions.NAME:IDX</c> by their place in the conversation, whatever their ids are.</summary>
    public bool RewritesCallIds { get; init; }

    /// <summary>Whether tools are declared in the style of TypeScript, where their schemas can be; else as compact JSON.</summary>
    public bool TypeScriptTools { get; init; }

    /// <summary>Whether the keys of tool declarations are sorted before they are shown.</summary>
    public bool SortsToolKeys { get; init; }
}

/// <summary>What becomes of the reasoning before the last answer without calls.</summary>
internal enum ReasoningHistory
{
    /// <summary>It is left out.</summary>
    Dropped,

    /// <summary>It is left out unless preserving is asked for.</summary>
    OnRequest,

    /// <summary>It is always shown.</summary>
    Kept,
}
