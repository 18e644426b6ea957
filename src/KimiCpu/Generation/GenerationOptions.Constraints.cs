// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints;

namespace KimiCpu.Generation;

/// <content>What an answer may be.</content>
public sealed partial record GenerationOptions
{
    /// <summary>
    /// What the answer may be: JSON that is valid by a schema, text that a pattern matches, or one of some texts. The reasoning
    /// is free. Log-probabilities stay the model's own. Null for any text. Not together with <see cref="IgnoreEndOfText"/>.
    /// </summary>
    public KimiConstraint? Constraint { get; init; }

    /// <summary>Whether tools are called. Default: the model decides, where there are any.</summary>
    public ToolChoice ToolChoice { get; init; } = ToolChoice.Auto;

    /// <summary>
    /// Whether tool calls are held to the declarations: to the tools' names, none where no tool is declared, and to the schemas of their parameters. Default true. With false and
    /// <see cref="ToolChoice.Auto"/> the model calls whatever it pleases; beside a <see cref="Constraint"/> only where tools are declared, and in the place of the answer.
    /// </summary>
    public bool ConstrainToolArguments { get; init; } = true;

    /// <summary>
    /// With <see cref="ConstrainToolArguments"/>: whether a tool whose parameters cannot be enforced may be called with any JSON
    /// object, of which the log is warned. The arguments of the other tools are still held to their schemas, unless all schemas together are too much for one
    /// call: then those tools whose tables do not fit, and all that come behind the end of the steps, take any object, too. Otherwise such a tool fails the call. Default false.
    /// </summary>
    public bool AllowUnenforceableTools { get; init; }
}
