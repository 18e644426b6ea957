// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Weights;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi repack</c>.</summary>
internal static class RepackCommand
{
    public const string Name = "repack";

    public static Command Make(CliStreams streams)
    {
        var source = new Argument<string>("SOURCE") { Description = "Checkpoint folder; it is only read." };
        ModelNames.Refuse(source);
        var target = new Argument<string?>("TARGET") { Description = "New or empty folder, or one where a repack was interrupted. Without it the command says what repacking would gain, and ends.", Arity = ArgumentArity.ZeroOrOne };
        var force = new Option<bool>("--force") { Description = "Write it even where little is gained." };
        var command = new Command(
            Name,
            "Writes a checkpoint anew with all that belongs to an expert side by side, so that one read brings it in. SOURCE has to be whole, as `kimi verify` has it. Takes as much space as the checkpoint; every byte is read back and compared. Can be interrupted: the same command goes on.")
        {
            source, target, force,
        };
        command.SetLongAction((parsed, cancellationToken) => Run(streams, parsed.GetValue(source)!, parsed.GetValue(target), parsed.GetValue(force), cancellationToken));
        return command;
    }

    private static int Run(CliStreams streams, string from, string? to, bool force, CancellationToken cancellationToken)
    {
        if (to is not null)
        {
            RepackFolder.Check(from, to);
        }

        using var reading = new ProgressLine(streams, "Reading");
        RepackSource source = RepackSource.Open(from, (done, total) =>
        {
            cancellationToken.ThrowIfCancellationRequested();
            reading.Report("shard", done, total);
        });
        RepackPlan plan = RepackPlan.Of(source);
        RepackGain gain = RepackGain.Of(from, plan);
        reading.Dispose();
        if (gain.Now.Experts == 0)
        {
            return End(streams, to, "This model has no routed experts: there is nothing to repack.");
        }

        Show(streams, gain);
        if (to is null)
        {
            streams.Output.WriteLine($"Repacking takes {InspectCommand.Bytes(plan.Bytes)} in another folder: kimi repack SOURCE TARGET{(gain.IsWorthwhile ? "" : " --force")}");
            return KimiCommand.Ok;
        }

        // Whoever has begun has decided.
        if (!gain.IsWorthwhile && !force && !File.Exists(Path.Combine(to, RepackManifest.File)))
        {
            return End(streams, to, "Nothing is written: it would gain little. --force writes it all the same.");
        }

        if (!IsWhole(streams, from, cancellationToken))
        {
            return KimiCommand.Failed;
        }

        Write(streams, source, plan, to, cancellationToken);
        return KimiCommand.Ok;
    }

    /// <summary>What is damaged would be written faithfully, with checksums that call it whole.</summary>
    private static bool IsWhole(CliStreams streams, string source, CancellationToken cancellationToken)
    {
        VerificationReport report;
        using (var progress = new ProgressLine(streams, "Verifying"))
        {
            report = CheckpointCheck.Of(source, progress, cancellationToken).Report;
        }

        if (report.Problems.Count > 0)
        {
            string[] lines = [.. CheckpointCheck.Lines(report), .. CheckpointCheck.Repair(report, source, unfinished: false)];
            streams.Error.WriteLine(VisibleText.Of(string.Join('\n', lines.Prepend("Nothing is written: the source is not whole."))));
        }

        return report.Problems.Count == 0;
    }

    /// <summary>Nothing is written. Who has named a target has asked for a checkpoint there, and a script goes on with it.</summary>
    private static int End(CliStreams streams, string? to, string reason)
    {
        (to is null ? streams.Output : streams.Error).WriteLine(reason);
        return to is null ? KimiCommand.Ok : KimiCommand.Failed;
    }

    private static void Write(CliStreams streams, RepackSource source, RepackPlan plan, string to, CancellationToken cancellationToken)
    {
        var repacker = new Repacker(source, plan, to);
        long bytes = repacker.BytesToWrite();
        foreach (LeftOut file in source.LeftOut)
        {
            streams.Error.WriteLine($"{VisibleText.Of(file.Name)} is left out: {file.Reason}.");
        }

        string there = bytes < plan.Bytes ? $"; {InspectCommand.Bytes(plan.Bytes - bytes)} are there from an earlier run" : "";
        if (bytes > 0)
        {
            streams.Output.WriteLine($"Writing {InspectCommand.Bytes(bytes)} to {to}{there}.");
        }

        long start = Stopwatch.GetTimestamp();
        RepackResult result;
        using (var line = new RepackLine(streams))
        {
            try
            {
                result = repacker.Run(line, cancellationToken);
            }
            catch (OperationCanceledException)
            {
                line.Dispose();
                streams.Error.WriteLine("Finished files stay; the same command goes on with the others.");
                throw;
            }
        }

        TimeSpan time = Stopwatch.GetElapsedTime(start);
        streams.Output.WriteLine(result.Written == 0
            ? $"{to} is complete already. `kimi verify --checksums {to}` reads all of it and compares."
            : string.Create(CultureInfo.InvariantCulture, $"Done: {InspectCommand.Bytes(result.Bytes)} written, read back and found the same, in {RepackLine.Time(time)} ({InspectCommand.Bytes((long)(result.Bytes / time.TotalSeconds))}/s). The checksums stay in {RepackManifest.File}."));
    }

    private static void Show(CliStreams streams, RepackGain gain)
    {
        (ExpertReadSurvey now, ExpertReadSurvey after) = (gain.Now, gain.After);
        streams.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{now.Experts:N0} routed experts of {InspectCommand.Bytes((long)now.Needed)} each"));
        streams.Output.WriteLine();
        TextTable.Write(
            streams,
            ["to read an expert", ">now", ">repacked"],
            [
                ["reads (least / mean / most)", Reads(now.Reads), Reads(after.Reads)],
                ["bytes (least / mean / most)", Bytes(now.Bytes), Bytes(after.Bytes)],
                ["of them not needed", Percent(now.Waste), Percent(after.Waste)],
                ["experts that begin at a multiple of 4,096", Percent(now.Aligned / (double)now.Experts), Percent(after.Aligned / (double)after.Experts)],
            ]);
        streams.Output.WriteLine();
        streams.Output.WriteLine($"Where a read costs as much time as 128 KiB more to read, repacking saves {Percent(Math.Max(0, gain.Saving))} of the time for reading experts.");
    }

    private static string Reads(Spread spread) => string.Create(CultureInfo.InvariantCulture, $"{spread.Least} / {spread.Mean:F2} / {spread.Most}");

    private static string Bytes(Spread spread) => $"{InspectCommand.Bytes(spread.Least)} / {InspectCommand.Bytes((long)spread.Mean)} / {InspectCommand.Bytes(spread.Most)}";

    private static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{100 * share:F1} %");
}
