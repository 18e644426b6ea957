// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using KimiCpu.Checkpoints;

namespace KimiCpu.Cli.Terminal;

/// <summary>How far a repack is: one line that moves on a terminal, a line a file elsewhere.</summary>
internal sealed class RepackLine(CliStreams streams) : IProgress<RepackProgress>, IDisposable
{
    /// <summary>More often nobody can read it.</summary>
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(200);

    private readonly MovingLine _line = new(streams.Error, streams.Columns);
    private readonly long _start = Stopwatch.GetTimestamp();
    private (int Number, bool IsChecking) _phase;
    private long _phaseStart;
    private long _fileStart;
    private long _shownAt;

    public void Report(RepackProgress value)
    {
        long now = Stopwatch.GetTimestamp();
        if (_phase != (value.Number, value.IsChecking))
        {
            _fileStart = _phase.Number == value.Number ? _fileStart : now;
            _phase = (value.Number, value.IsChecking);
            _phaseStart = now;
        }

        if (!streams.ShowsProgress)
        {
            if (value.IsChecking && value.FileDone == value.FileBytes)
            {
                streams.Error.WriteLine($"{VisibleText.Of(value.File)} ({value.Number} of {value.Count}): {InspectBytes(value.FileBytes)} written and read back in {Time(Stopwatch.GetElapsedTime(_fileStart, now))}");
            }

            return;
        }

        if (Stopwatch.GetElapsedTime(_shownAt, now) >= s_pause)
        {
            _shownAt = now;
            _line.Show(Text(value, Stopwatch.GetElapsedTime(_phaseStart, now), Stopwatch.GetElapsedTime(_start, now)));
        }
    }

    /// <summary>Takes the line away.</summary>
    public void Dispose() => _line.End();

    /// <summary>What matters most comes first: a narrow terminal cuts the end.</summary>
    /// <param name="value">How far it is.</param>
    /// <param name="phase">Since this file's writing or reading back began.</param>
    /// <param name="all">Since the run began.</param>
    internal static string Text(RepackProgress value, TimeSpan phase, TimeSpan all)
    {
        double rate = value.FileDone / Math.Max(phase.TotalSeconds, 1e-3);
        string left = all.TotalSeconds > 1 && value.Done > 0 ? $" ({Time(all * ((value.Total - value.Done) / (double)value.Done))} left)" : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{100.0 * value.Done / Math.Max(1, value.Total):F0} % of all{left}: file {value.Number} of {value.Count}, {(value.IsChecking ? "read back" : "written")} {value.FileDone / 1e9:F2} of {value.FileBytes / 1e9:F2} GB, {rate / 1e9:F2} GB/s: {VisibleText.Of(value.File)}");
    }

    /// <summary>Short: 12 s, 3 min 5 s, 1 h 20 min.</summary>
    internal static string Time(TimeSpan time) => time.TotalSeconds switch
    {
        < 10 => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:F1} s"),
        < 60 => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:F0} s"),
        < 3600 => $"{(int)time.TotalMinutes} min {time.Seconds} s",
        _ => $"{(int)time.TotalHours} h {time.Minutes} min",
    };

    private static string InspectBytes(long bytes) => Commands.InspectCommand.Bytes(bytes);
}
