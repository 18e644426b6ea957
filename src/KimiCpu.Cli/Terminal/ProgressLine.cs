// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>One line on a terminal's error stream that counts up; silent where nobody looks.</summary>
internal sealed class ProgressLine(CliStreams streams, string what) : IProgress<LoadProgress>, IProgress<double>, IDisposable
{
    private readonly MovingLine _line = new(streams.Error, streams.Columns);

    public void Report(LoadProgress value) => Report(value.Phase, value.Done, value.Total);

    /// <param name="value">0 … 1.</param>
    public void Report(double value) => Report("percent", (int)(100 * value), 100);

    public void Report(string phase, int done, int total) => Report($"{phase} {done} of {total} ");

    /// <param name="now">Takes the place of what stood there before.</param>
    public void Report(string now)
    {
        if (streams.ShowsProgress)
        {
            _line.Show($"{what}: {now}");
        }
    }

    /// <summary>Takes the line away.</summary>
    public void Dispose() => _line.End();
}
