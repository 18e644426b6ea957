// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tokens;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi verify</c>.</summary>
internal static class VerifyCommand
{
    public static Command Make(CliStreams streams)
    {
        var folder = new Argument<string>("DIR") { Description = "Checkpoint folder." };
        ModelNames.Refuse(folder);
        var json = new Option<bool>("--json") { Description = "JSON instead of text." };
        var checksums = new Option<bool>("--checksums") { Description = "Also reads every byte and compares checksums; for folders that `kimi repack` wrote." };
        var command = new Command("verify", "Checks whether a download is whole: every file, size, header, offset, name and shape. Flipped bits inside weights are seen with --checksums only.") { folder, json, checksums };
        command.SetLongAction((parsed, cancellationToken) =>
        {
            using var progress = new ProgressLine(streams, "Verifying");
            string path = parsed.GetValue(folder)!;

            // Without any checksums that is wrong usage, and better told before a checkpoint has been looked through.
            bool unfinished = parsed.GetValue(checksums) ? !ChecksumVerifier.ManifestOf(path).IsComplete : IsUnfinished(path);
            VerificationReport report = CheckpointVerifier.Verify(path, progress.Report, cancellationToken);
            string? note = null;
            if (!report.Problems.Any(p => p.File == KimiConfigReader.File && p.IsForeign))
            {
                report = report with { Problems = [.. report.Problems, .. TokenizerProblems(path, report).Concat(TemplateProblems(path, out note)).Except(report.Problems)] };
            }

            if (parsed.GetValue(checksums))
            {
                IReadOnlyList<VerificationProblem> damaged = ChecksumVerifier.Verify(path, (done, total) => progress.Report("MB", (int)(done / 1_000_000), (int)(total / 1_000_000)), cancellationToken);
                report = report with { Problems = [.. report.Problems, .. damaged] };
            }

            progress.Dispose();
            if (unfinished)
            {
                // What is missing is still to be written, by nobody but the repack.
                note = null;
                report = report with { Problems = [ChecksumVerifier.Unfinished, .. report.Problems.Where(p => p != ChecksumVerifier.Unfinished && (p.IsUnreadable || File.Exists(Path.Combine(path, p.File))))] };
            }

            streams.Output.WriteLine(parsed.GetValue(json) ? ToJson(report, note) : streams.Shown(ToText(report, note, RepairOf(report, path, unfinished))));
            return report.Problems.Count == 0 ? KimiCommand.Ok : KimiCommand.Failed;
        });
        return command;
    }

    private static bool IsUnfinished(string folder)
    {
        try
        {
            return RepackManifest.TryRead(folder) is { IsComplete: false };
        }
        catch (CheckpointException)
        {
            // The journal is no part of the checkpoint, which may be whole where that is damaged.
            return false;
        }
    }

    private static IEnumerable<VerificationProblem> TokenizerProblems(string folder, VerificationReport report)
    {
        if (report.Problems.Any(p => p.File is KimiTokenizer.RanksFile or KimiTokenizer.ConfigFile))
        {
            return [];
        }

        try
        {
            KimiTokenizer tokenizer = KimiTokenizer.Open(folder);
            if (!report.Problems.Any(p => p.File == KimiConfigReader.File))
            {
                var files = new FolderCheckpointFiles(folder);
                tokenizer.RequireFit(KimiConfigReader.Read(files), files);
            }

            return [];
        }
        catch (CheckpointException e)
        {
            return [VerificationProblem.Of(e)];
        }
    }

    /// <summary>How a chat is rendered is found out by everybody's first one, after the hour that opening may take.</summary>
    /// <param name="folder">The checkpoint.</param>
    /// <param name="note">What is doubtful and no damage: base models have no template.</param>
    private static VerificationProblem[] TemplateProblems(string folder, out string? note)
    {
        note = null;
        try
        {
            note = ChatTemplate.Read(new FolderCheckpointFiles(folder)).Doubt;
            return [];
        }
        catch (CheckpointException e)
        {
            return [VerificationProblem.Of(e)];
        }
    }

    private static string ToText(VerificationReport report, string? note, string? repair)
    {
        IEnumerable<string> lines = report.Problems.Count == 0
            ? [$"Whole: {report.Shards} shards, {report.Tensors} tensors, {InspectCommand.Bytes(report.Bytes)}."]
            : report.Problems.Select(p => $"{p.File}{(p.Tensor is null ? "" : $", {p.Tensor}")}: {p.Problem}{(p.Remedy is null ? "" : $" {p.Remedy}")}");
        string[] notes = note is null ? [] : [$"Note: {note}"];
        return string.Join('\n', [.. lines, .. notes, .. repair is null ? [] : new[] { "", repair }]);
    }

    private static string? RepairOf(VerificationReport report, string folder, bool unfinished)
    {
        string fetch = string.Join(", ", report.FilesToFetch);
        return report.FilesToFetch.Count == 0 ? null
            : !File.Exists(Path.Combine(folder, RepackManifest.File)) ? $"Fetch again: {fetch}"
            : unfinished ? RepackAgain(report, folder)
            : $"Where the source of the repack is at hand: {RepackAgain(report, folder)}\nElsewhere fetch again, from where this folder came: {fetch}";
    }

    /// <summary>What repairs a checkpoint where it was repacked: files that are not there are written again.</summary>
    private static string RepackAgain(VerificationReport report, string folder)
    {
        string[] damaged = [.. report.FilesToFetch.Where(f => File.Exists(Path.Combine(folder, f)))];
        return damaged.Length == 0 ? "Run `kimi repack` again." : $"Delete these files and run `kimi repack` again: {string.Join(", ", damaged)}";
    }

    private static string ToJson(VerificationReport report, string? note) => JsonText.Write(json =>
    {
        json.WriteBoolean("whole", report.Problems.Count == 0);
        json.WriteNumber("shards", report.Shards);
        json.WriteNumber("tensors", report.Tensors);
        json.WriteNumber("bytes", report.Bytes);
        json.WriteStartArray("problems");
        foreach (VerificationProblem problem in report.Problems)
        {
            json.WriteStartObject();
            json.WriteString("file", problem.File);
            json.WriteString("tensor", problem.Tensor);
            json.WriteString("problem", problem.Problem);
            json.WriteString("remedy", problem.Remedy);
            json.WriteBoolean("unreadable", problem.IsUnreadable);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("fetch_again");
        foreach (string file in report.FilesToFetch)
        {
            json.WriteStringValue(file);
        }

        json.WriteEndArray();
        json.WriteString("note", note);
    });
}
