// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace KimiCpu.Cli.Commands;

/// <summary>Options that take whole numbers of a range, refused by name before anything begins.</summary>
internal static class WholeNumbers
{
    /// <summary>As many threads as <see cref="KimiModelOptions.Threads"/> takes.</summary>
    public static Option<int?> Threads() => new Option<int?>("--threads", "-t") { Description = "Worker threads, 1 … 1024. Default: one per physical core.", HelpName = "N" }.Within(1, 1024);

    public static Option<T> Within<T>(this Option<T> option, int least, int most = int.MaxValue)
    {
        option.Validators.Add(result =>
        {
            // What is no number at all is told by the parser.
            if (result.Tokens.Count == 1 && int.TryParse(result.Tokens[0].Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && (value < least || value > most))
            {
                result.AddError(string.Create(CultureInfo.InvariantCulture, $"{option.Name} takes {least}{(most == int.MaxValue ? " or more" : $" … {most}")}; found {value}."));
            }
        });
        return option;
    }
}
