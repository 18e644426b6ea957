// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Cli.Terminal;

/// <summary>Writes an answer as it comes, its text to the output and its reasoning beside it. Where a terminal shows both, neither goes on in the other's line.</summary>
/// <param name="streams">Where to write.</param>
/// <param name="text">Whether text is written.</param>
/// <param name="reasoning">Whether reasoning is written.</param>
internal sealed class StreamedAnswer(CliStreams streams, bool text, bool reasoning)
{
    private bool _reasons;
    private bool _speaks;

    public void Write(GenerationUpdate update)
    {
        if (reasoning && update.Reasoning.Length > 0)
        {
            streams.Error.Write(VisibleText.Of(update.Reasoning));
            _reasons = true;
        }

        if (text && update.Text.Length > 0)
        {
            EndReasoning();
            streams.Output.Write(streams.Shown(update.Text));
            streams.Output.Flush();
            _speaks = true;
        }
    }

    /// <summary>Ends the line of a reasoning that no text followed, and on a terminal that of a text after which it is told why no more came.</summary>
    /// <param name="isWhole">Whether the answer came to its end.</param>
    public void End(bool isWhole)
    {
        EndReasoning();
        if (!isWhole && _speaks && streams.ShowsOnTerminal)
        {
            streams.Output.WriteLine();
        }
    }

    private void EndReasoning()
    {
        if (_reasons)
        {
            streams.Error.WriteLine();
            _reasons = false;
        }
    }
}
