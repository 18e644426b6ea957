// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace KimiCpu.Cli.Serve;

/// <summary>The log of <c>kimi serve</c>: a line an event on standard error, since data alone goes to standard output.</summary>
internal static class ConsoleLog
{
    /// <param name="logging">Of the program; what its configuration says of colours stays.</param>
    /// <param name="streams">Know whether colours are shown.</param>
    public static void AddTo(ILoggingBuilder logging, CliStreams streams)
    {
        logging.AddSimpleConsole(o =>
        {
            (o.SingleLine, o.TimestampFormat) = (true, "HH:mm:ss ");
            if (o.ColorBehavior == LoggerColorBehavior.Default)
            {
                // The logger itself would look at standard output.
                o.ColorBehavior = streams.UsesColoursInErrors ? LoggerColorBehavior.Enabled : LoggerColorBehavior.Disabled;
            }
        });
        logging.Services.Configure<ConsoleLoggerOptions>(o => o.LogToStandardErrorThreshold = LogLevel.Trace);
    }
}
