// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>One line on a terminal's error stream that counts up; silent where nobody looks.</summary>
internal sealed class ProgressLine(CliStreams streams, string what) : IProgress<LoadProgress>, IProgress<double>, IDisposable
{
    private bool _shown;

    public void Report(LoadProgress value) => Report(value.Phase, value.Done, value.Total);

    /// <param name="value">0 … 1.</param>
    public void Report(double value) => Report("percent", (int)(100 * value), 100);

    public void Report(string phase, int done, int total)
    {
        if (streams.IsTerminal)
        {
            _shown = true;
            streams.Error.Write($"\r{what}: {phase} {done} of {total} ");
        }
    }

    /// <summary>Takes the line away.</summary>
    public void Dispose()
    {
        if (_shown)
        {
            streams.Error.Write("\r" + new string(' ', what.Length + 40) + "\r");
        }
    }
}
