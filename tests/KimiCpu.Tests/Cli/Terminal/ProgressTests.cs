// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

/// <summary>Lines that move are for a terminal, wherever input and output go.</summary>
[TestFixture]
internal sealed class ProgressTests
{
    [Test]
    public void Lines_move_where_a_terminal_shows_the_errors([Values] bool isTerminal, [Values] bool showsProgress)
    {
        var error = new StringWriter();
        var streams = new CliStreams(Stream.Null, TextWriter.Null, error, isTerminal) { ShowsProgress = showsProgress };
        using (var line = new ProgressLine(streams, "Opening"))
        {
            line.Report("shard", 1, 3);
        }

        Assert.That(error.ToString(), showsProgress ? Does.StartWith("\rOpening: shard 1 of 3 \r") : Is.Empty);
    }

    [Test]
    public void A_repack_writes_a_line_a_file_elsewhere([Values] bool isTerminal)
    {
        var error = new StringWriter();
        using (var line = new RepackLine(new CliStreams(Stream.Null, TextWriter.Null, error, isTerminal) { ShowsProgress = false }))
        {
            line.Report(new RepackProgress("a", 1, 2, IsChecking: true, FileDone: 5, FileBytes: 10, Done: 5, Total: 40));
            line.Report(new RepackProgress("a", 1, 2, IsChecking: true, FileDone: 10, FileBytes: 10, Done: 10, Total: 40));
        }

        Assert.That(error.ToString(), Does.StartWith("a (1 of 2): 10 B written and read back in ").And.Not.Contain("\r"));
    }
}
