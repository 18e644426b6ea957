// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Cli.Terminal;

/// <summary>The library's warnings and errors as lines on the error stream; what it only tells is left away.</summary>
/// <param name="streams">Where to write.</param>
/// <param name="progress">Makes room for a line.</param>
/// <param name="translate">Into the words of the command line.</param>
internal sealed class WarningLines(CliStreams streams, ProgressLine progress, Func<string, string> translate) : ILoggerFactory, ILogger
{
    public ILogger CreateLogger(string categoryName) => this;

    public bool IsEnabled(LogLevel logLevel) => logLevel is >= LogLevel.Warning and < LogLevel.None;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            progress.Dispose();
            streams.Error.WriteLine(VisibleText.Of(translate(formatter(state, exception))));
        }
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("Warnings go to the error stream alone.");

    public void Dispose()
    {
    }
}
