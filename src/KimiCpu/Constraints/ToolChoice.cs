// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>Whether an answer calls tools.</summary>
public sealed record ToolChoice
{
    private ToolChoice(ToolChoiceKind kind, string? name = null)
    {
        Kind = kind;
        Name = name;
    }

    /// <summary>The model decides. Where it calls a tool, name and arguments are held to the declaration; where none is declared, it calls none.</summary>
    public static ToolChoice Auto { get; } = new(ToolChoiceKind.Auto);

    /// <summary>No tool is called.</summary>
    public static ToolChoice None { get; } = new(ToolChoiceKind.None);

    /// <summary>At least one tool is called; after the reasoning, if any, nothing comes before the calls.</summary>
    public static ToolChoice Required { get; } = new(ToolChoiceKind.Required);

    /// <summary>The kind of choice.</summary>
    public ToolChoiceKind Kind { get; }

    /// <summary>The tool of <see cref="ToolChoiceKind.Named"/>; else null.</summary>
    public string? Name { get; }

    /// <summary>One tool is called, once; after the reasoning, if any, nothing comes before the call.</summary>
    /// <param name="name">Name of a declared tool.</param>
    public static ToolChoice Named(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return new ToolChoice(ToolChoiceKind.Named, name);
    }
}

/// <summary>Kinds of <see cref="ToolChoice"/>.</summary>
public enum ToolChoiceKind
{
    /// <summary>The model decides.</summary>
    Auto,

    /// <summary>No tool is called.</summary>
    None,

    /// <summary>At least one tool is called.</summary>
    Required,

    /// <summary>A certain tool is called.</summary>
    Named,
}
