// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Text.Json.Serialization;

namespace KimiCpu.Chat;

/// <summary>One message of a conversation. Equal to another by all that it says, lists by their elements.</summary>
/// <param name="Role">Who speaks.</param>
/// <param name="Content">The text; it can never become a control token.</param>
public sealed record KimiMessage(KimiRole Role, string Content)
{
    /// <summary>
    /// What the assistant thought before it answered; null where it did not. Templates show it as long as the assistant goes
    /// on calling tools, and leave it out once there is an answer without calls, unless they are asked to preserve it.
    /// </summary>
    public string? Reasoning { get; init; }

    /// <summary>A name shown to the model in place of the role; null for none.</summary>
    public string? Name { get; init; }

    /// <summary>The tools that the assistant called, in order; of no other role. Null is taken for none, since generated readers of JSON set what is missing there to null.</summary>
    [AllowNull]
    public IReadOnlyList<KimiToolCall> ToolCalls { get; init => field = ValueList<KimiToolCall>.Of(value ?? []); } = ValueList<KimiToolCall>.Empty;

    /// <summary>Of a tool's message: <see cref="KimiToolCall.Id"/> of the call that it answers. Null for the first call that is not answered yet, of the latest turn that has one.</summary>
    public string? ToolCallId { get; init; }

    /// <summary>
    /// Of an answer: the token ids that the model wrote it as; null for a message of another origin. A text can be cut into tokens in several
    /// ways, and models do not always write the one that encoding it gives. Texts of the message that some of these tokens spell to the byte are shown
    /// to the model as those tokens, so that they are found in the cache; all others are encoded. So they never change what the conversation says.
    /// </summary>
    public IReadOnlyList<int>? GeneratedTokens { get; init => field = ValueList<int>.Of(value); }

    /// <summary>
    /// Whether its role is one that <see cref="KimiRole"/> has not, such as developer in a file. It is shown as a system message under a name of its own, but is none to templates
    /// that ask whether a conversation begins with one.
    /// </summary>
    internal bool HasOtherRole { get; init; }

    /// <summary>A message that instructs the model.</summary>
    /// <param name="content">The instruction.</param>
    /// <exception cref="ArgumentNullException">It is null.</exception>
    public static KimiMessage System(string content) => new(KimiRole.System, Given(content));

    /// <summary>A message of the user.</summary>
    /// <param name="content">What the user says.</param>
    /// <exception cref="ArgumentNullException">It is null.</exception>
    public static KimiMessage User(string content) => new(KimiRole.User, Given(content));

    /// <summary>An earlier answer of the model.</summary>
    /// <param name="content">The answer.</param>
    /// <param name="reasoning">The reasoning that led to it, if any.</param>
    /// <exception cref="ArgumentNullException">The answer is null.</exception>
    public static KimiMessage Assistant(string content, string? reasoning = null) => new(KimiRole.Assistant, Given(content)) { Reasoning = reasoning };

    /// <summary>What a tool returned.</summary>
    /// <param name="toolCallId"><see cref="KimiToolCall.Id"/> of the call.</param>
    /// <param name="content">The result, as text.</param>
    /// <exception cref="ArgumentNullException">One of them is null.</exception>
    public static KimiMessage Tool(string toolCallId, string content) => new(KimiRole.Tool, Given(content)) { ToolCallId = Given(toolCallId) };

    private static string Given(string text, [CallerArgumentExpression(nameof(text))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(text, name);
        return text;
    }
}

/// <summary>Who speaks in a <see cref="KimiMessage"/>. JSON has the name, and may have the number.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<KimiRole>))]
public enum KimiRole
{
    /// <summary>Instructions for the model.</summary>
    System,

    /// <summary>The person or program that asks.</summary>
    User,

    /// <summary>The model.</summary>
    Assistant,

    /// <summary>A tool that the model called.</summary>
    Tool,
}
