// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Commands;

/// <summary>The options of <c>kimi bench --concurrency</c>.</summary>
internal sealed class ConcurrencyOptions
{
    public Option<string?> Switch { get; } = new("--concurrency") { Description = "So many answers at once through the whole library, alone and while a prompt enters; several counts separated by commas.", HelpName = "N,N" };

    private readonly Option<int> _prompt = new Option<int>("--entering") { Description = "With --concurrency: tokens of the prompt that enters; 0 for none.", DefaultValueFactory = _ => 4096, HelpName = "N" }.Within(0);

    private readonly Option<int?> _gap = new Option<int?>("--token-gap") { Description = "With --concurrency: SchedulingOptions.MaxTokenGap in milliseconds; 0 for no aim, not given: as the model has it by itself.", HelpName = "MS" }.Within(0);

    /// <summary>Those that need the switch.</summary>
    public Option[] Others => [_prompt, _gap];

    public void AddTo(Command command)
    {
        command.Add(Switch);
        foreach (Option option in Others)
        {
            command.Add(option);
        }
    }

    /// <summary>How many answers at once; null without the switch.</summary>
    /// <exception cref="FormatException">They are no counts.</exception>
    public int[]? Counts(ParseResult parsed) => parsed.GetValue(Switch) is { } counts ? [.. counts.Split(',').Select(ReadCount)] : null;

    public Task Run(ParseResult parsed, int[] calls, string subject, string folder, KimiModelOptions options, int tokens, string? chart, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        options = options with
        {
            Scheduling = new SchedulingOptions
            {
                MaxRunning = calls.Max() + (parsed.GetValue(_prompt) > 0 ? 1 : 0),
                MaxTokenGap = parsed.GetValue(_gap) is not { } gap ? null : gap == 0 ? Timeout.InfiniteTimeSpan : TimeSpan.FromMilliseconds(gap),
            },
        };
        return ConcurrencyReport.Run(folder, subject, options, calls, tokens, parsed.GetValue(_prompt), chart, json, streams, cancellationToken);
    }

    private static int ReadCount(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count is >= 1 and <= 1024
        ? count
        : throw new FormatException($"--concurrency takes counts from 1 to 1024 separated by commas, such as 1,2,4,8,16; found '{text}'.");
}
