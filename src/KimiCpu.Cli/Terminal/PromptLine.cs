// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Terminal;

/// <summary>A line on a terminal that says how far a long prompt is, until the answer begins.</summary>
/// <param name="error">Of the terminal; <see cref="TextWriter.Null"/> where nobody looks.</param>
/// <param name="columns">Of the terminal; 0 where nobody knows.</param>
internal sealed class PromptLine(TextWriter error, Func<int> columns) : IProgress<PromptProgress>
{
    /// <summary>Short prompts are done before anybody has read a line.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(0.5);

    private readonly long _begun = Stopwatch.GetTimestamp();
    private readonly MovingLine _line = new(error, columns);
    private readonly Lock _gate = new();
    private bool _hasEnded;

    /// <summary>Called by the model's thread, which may be at it still where the answer was stopped.</summary>
    public void Report(PromptProgress value)
    {
        lock (_gate)
        {
            if (!_hasEnded && value.Tokens < value.TotalTokens && Stopwatch.GetElapsedTime(_begun) > s_patience)
            {
                _line.Show(string.Create(CultureInfo.InvariantCulture, $"Reading the prompt: {value.Tokens:N0} of {value.TotalTokens:N0} tokens "));
            }
        }
    }

    /// <summary>Takes the line away, for good.</summary>
    public void End()
    {
        lock (_gate)
        {
            _hasEnded = true;
            _line.End();
        }
    }
}
