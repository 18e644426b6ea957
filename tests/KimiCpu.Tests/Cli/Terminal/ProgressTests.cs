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

    /// <summary>What reaches into the next row stays there, a row for every time it is written.</summary>
    [Test]
    [CancelAfter(30_000)]
    public void Lines_that_move_stay_in_one_row(CancellationToken cancellationToken)
    {
        var error = new StringWriter();
        int columns = 80;
        var streams = new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: true) { Columns = () => columns };
        using (var line = new ProgressLine(streams, $"Writing /{new string('x', 100)}"))
        {
            line.Report("shard", 1, 3);
        }

        using (var line = new RepackLine(streams))
        {
            line.Report(new RepackProgress("model-00012-of-00062.safetensors", 12, 62, IsChecking: false, 4_020_000_000, 9_810_000_000, 45_000_000_000, 100_000_000_000));

            // Somebody makes the window narrower.
            columns = 40;
            Task.Delay(300, cancellationToken).Wait(cancellationToken);
            line.Report(new RepackProgress("model-00012-of-00062.safetensors", 12, 62, IsChecking: false, 4_920_000_000, 9_810_000_000, 46_000_000_000, 100_000_000_000));
        }

        string[] written = error.ToString().Split('\r', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(written.Select(w => w.Length), Is.EqualTo(new[] { 79, 79, 79, 39, 39 }));

        // Where another process has the processor for a second, the time that is left comes in between.
        Assert.That(written[2], Does.Match(@"^45 % of all( \([^)]* left\))?: file 12 of 62, written 4\.02 of 9\.81 GB, "));
        Assert.That(written[3], Does.Match(@"^46 % of all( \([^)]* left\))?: file 12 of 62, "));
    }

    /// <summary>Where its window has been closed.</summary>
    [Test]
    public void A_terminal_that_is_gone_ends_nothing()
    {
        using var line = new ProgressLine(new CliStreams(Stream.Null, TextWriter.Null, new ClosedWriter(), IsTerminal: true), "Saving");
        Assert.That(() => line.Report("page", 1, 3), Throws.Nothing);
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

        Assert.That(error.ToString().Replace(Environment.NewLine, "\n", StringComparison.Ordinal), Does.StartWith("a (1 of 2): 10 B written and read back in ").And.Not.Contain("\r"));
    }

    /// <summary>A name comes with the checkpoint, and is shown on a terminal.</summary>
    [Test]
    public void Names_of_files_act_on_no_terminal([Values] bool moves)
    {
        var error = new StringWriter();
        using (var line = new RepackLine(new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false) { ShowsProgress = moves }))
        {
            line.Report(new RepackProgress("a\u001b[2J", 1, 2, IsChecking: true, FileDone: 10, FileBytes: 10, Done: 10, Total: 40));
        }

        Assert.That(error.ToString(), Does.Contain("a\\u001B[2J").And.Not.Contain("\u001b"));
    }
}
