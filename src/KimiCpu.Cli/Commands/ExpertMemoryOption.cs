// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary><c>--expert-memory</c> of every command that opens a model to run it.</summary>
internal sealed class ExpertMemoryOption : Option<string?>
{
    public ExpertMemoryOption()
        : base("--expert-memory")
    {
        Description = "Memory for routed experts, such as 180GB; what does not fit is read from the drive. Default: what the machine allows.";
        HelpName = "SIZE";
    }

    /// <returns>Null where it is not given.</returns>
    /// <exception cref="FormatException">It is no size.</exception>
    public long? Bytes(ParseResult parsed) => parsed.GetValue(this) is { } size ? (long)Quantity.Bytes(Name, size) : null;
}
