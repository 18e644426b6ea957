// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>One message of a conversation.</summary>
/// <param name="Role">Who speaks.</param>
/// <param name="Content">The text; it can never become a control token.</param>
public sealed record KimiMessage(KimiRole Role, string Content)
{
    /// <summary>What the assistant thought before it answered; null where it did not.</summary>
    public string? Reasoning { get; init; }

    /// <summary>A name shown to the model in place of the role; null for none.</summary>
    public string? Name { get; init; }

    /// <summary>A message that instructs the model.</summary>
    /// <param name="content">The instruction.</param>
    public static KimiMessage System(string content) => new(KimiRole.System, content);

    /// <summary>A message of the user.</summary>
    /// <param name="content">What the user says.</param>
    public static KimiMessage User(string content) => new(KimiRole.User, content);

    /// <summary>An earlier answer of the model.</summary>
    /// <param name="content">The answer.</param>
    /// <param name="reasoning">The reasoning that led to it, if any.</param>
    public static KimiMessage Assistant(string content, string? reasoning = null) => new(KimiRole.Assistant, content) { Reasoning = reasoning };
}

/// <summary>Who speaks in a <see cref="KimiMessage"/>.</summary>
public enum KimiRole
{
    /// <summary>Instructions for the model.</summary>
    System,

    /// <summary>The person or program that asks.</summary>
    User,

    /// <summary>The model.</summary>
    Assistant,
}
