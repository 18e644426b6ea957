// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Cli.Terminal;
using KimiCpu.Constraints;

namespace KimiCpu.Cli.Commands;

/// <summary>The options that say what an answer may be.</summary>
internal sealed class ConstraintOptions
{
    private readonly Option<string?> _schema = new("--schema") { Description = "The answer is JSON that is valid by the JSON Schema in this file; - for standard input, of which nothing goes before PROMPT then.", HelpName = "FILE" };
    private readonly Option<string?> _regex = new("--regex") { Description = "The answer is a text that this pattern matches as a whole.", HelpName = "PATTERN" };
    private readonly Option<string[]> _choice = new("--choice") { Description = "The answer is this text, or another one given so. May be given several times.", HelpName = "TEXT" };

    public void AddTo(Command command)
    {
        command.Add(_schema);
        command.Add(_regex);
        command.Add(_choice);
    }

    /// <summary>Null where none is given.</summary>
    /// <param name="parsed">What was given.</param>
    /// <param name="streams">Has standard input.</param>
    /// <param name="cancellationToken">Ends the compilation.</param>
    /// <exception cref="ArgumentException">Several are given, the file cannot be read, or it cannot be a constraint.</exception>
    public KimiConstraint? Read(ParseResult parsed, CliStreams streams, CancellationToken cancellationToken)
    {
        string? schema = parsed.GetValue(_schema);
        string? regex = parsed.GetValue(_regex);
        string[] choices = parsed.GetValue(_choice) ?? [];
        if ((schema is null ? 0 : 1) + (regex is null ? 0 : 1) + (choices.Length == 0 ? 0 : 1) > 1)
        {
            throw new ArgumentException("Only one of --schema, --regex and --choice can be given.");
        }

        if (schema is not null)
        {
            string text = InputFile.ReadText(_schema.Name, schema, streams);
            return Make($"{_schema.Name}, '{schema}'", () => KimiConstraint.JsonSchema(text, cancellationToken));
        }

        return regex is not null ? Make(_regex.Name, () => KimiConstraint.Regex(regex, cancellationToken))
            : choices.Length > 0 ? Make(_choice.Name, () => KimiConstraint.Choice(choices))
            : null;
    }

    /// <summary>A constraint that there cannot be is wrong usage, as any other argument that an option does not take.</summary>
    private static KimiConstraint Make(string place, Func<KimiConstraint> make)
    {
        try
        {
            return make();
        }
        catch (KimiConstraintException e)
        {
            throw new ArgumentException($"{place}: {e.Message}", e);
        }
    }
}
