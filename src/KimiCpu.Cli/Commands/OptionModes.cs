// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;

namespace KimiCpu.Cli.Commands;

/// <summary>
/// The ways in which a command works, and which of its options each of them heeds. One that has no effect is refused: what comes out would be taken for what
/// it asks for.
/// </summary>
/// <param name="plain">Heeded where no switch is given.</param>
/// <param name="modes">The option that switches to a way of working, and what is heeded beside it; the first that is given counts.</param>
internal sealed class OptionModes(Option[] plain, params (Option Switch, Option[] Heeded)[] modes)
{
    /// <exception cref="FormatException">An option is given that does nothing.</exception>
    public void Check(ParseResult parsed)
    {
        Option[] given = [.. parsed.CommandResult.Command.Options.Where(o => IsGiven(parsed, o))];
        if (Array.Find(modes, m => given.Contains(m.Switch)) is { Switch: { } mode } found)
        {
            if (Array.Find(given, o => o != mode && !found.Heeded.Contains(o)) is { } idle)
            {
                throw new FormatException($"{idle.Name} has no place beside {mode.Name}, which takes {List(found.Heeded, "and")}.");
            }
        }
        else if (Array.Find(given, o => !plain.Contains(o)) is { } lonely)
        {
            Option[] owners = [.. modes.Where(m => m.Heeded.Contains(lonely)).Select(m => m.Switch)];
            throw new FormatException($"{lonely.Name} belongs to {List(owners, "or")}, which is missing.");
        }
    }

    private static bool IsGiven(ParseResult parsed, Option option) =>
        parsed.GetResult(option) is { Implicit: false } && (option is not Option<bool> flag || parsed.GetValue(flag));

    private static string List(Option[] options, string last) =>
        options.Length == 1 ? options[0].Name : $"{string.Join(", ", options[..^1].Select(o => o.Name))} {last} {options[^1].Name}";
}
