// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Serve;
using KimiCpu.Cli.Terminal;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Cli.Serve;

[TestFixture]
internal sealed class ConsoleLogTests
{
    /// <summary>A log that goes into a file has none, though a terminal shows the output.</summary>
    [TestCase(true, null, LoggerColorBehavior.Enabled)]
    [TestCase(false, null, LoggerColorBehavior.Disabled)]
    [TestCase(false, "Enabled", LoggerColorBehavior.Enabled)]
    public void Colours_are_for_a_terminal_that_shows_the_errors(bool shown, string? configured, LoggerColorBehavior expected)
    {
        var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: !shown) { UsesColoursInErrors = shown };
        IConfiguration configuration = new ConfigurationBuilder().AddInMemoryCollection([new("Console:FormatterOptions:ColorBehavior", configured)]).Build();
        using ServiceProvider services = new ServiceCollection().AddLogging(logging =>
        {
            logging.AddConfiguration(configuration);
            ConsoleLog.AddTo(logging, streams);
        }).BuildServiceProvider();
        SimpleConsoleFormatterOptions options = services.GetRequiredService<IOptionsMonitor<SimpleConsoleFormatterOptions>>().CurrentValue;
        Assert.That((options.ColorBehavior, options.SingleLine), Is.EqualTo((expected, true)));
        Assert.That(services.GetRequiredService<IOptionsMonitor<ConsoleLoggerOptions>>().CurrentValue.LogToStandardErrorThreshold, Is.EqualTo(LogLevel.Trace));
    }
}
