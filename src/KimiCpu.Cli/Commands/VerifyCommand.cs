// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi verify</c>.</summary>
internal static class VerifyCommand
{
    public static Command Make(CliStreams streams)
    {
        var folder = new Argument<string>("DIR") { Description = "Checkpoint folder." };
        ModelNames.Refuse(folder);
        var json = new Option<bool>("--json") { Description = "JSON instead of text." };
        var checksums = new Option<bool>("--checksums") { Description = "Also reads every byte and compares checksums: those that `kimi repack` wrote, or the hub's, which `hf download` leaves." };
        var command = new Command("verify", "Checks whether a download is whole: every file, size, header, offset, name and shape. Flipped bits inside weights are seen with --checksums only.") { folder, json, checksums };
        command.SetLongAction((parsed, cancellationToken) =>
        {
            using var progress = new ProgressLine(streams, "Verifying");
            string path = parsed.GetValue(folder)!;
            bool compares = parsed.GetValue(checksums);

            // Without any checksums that is wrong usage, and better told before a checkpoint has been looked through.
            DownloadChecksums? downloaded = compares && RepackManifest.TryRead(path) is null ? ChecksumsOfDownload(path) : null;
            bool unfinished = IsUnfinished(path);
            (VerificationReport report, string? note) = CheckpointCheck.Of(path, progress, cancellationToken);
            if (compares)
            {
                void Tell(long done, long total) => progress.Report("MB", (int)(done / 1_000_000), (int)(total / 1_000_000));
                IReadOnlyList<VerificationProblem> damaged = downloaded is null
                    ? ChecksumVerifier.Verify(path, Tell, cancellationToken)
                    : DownloadVerifier.Verify(path, downloaded, Tell, cancellationToken);
                report = report with { Problems = [.. report.Problems, .. damaged.Except(report.Problems)] };
            }

            progress.Dispose();
            if (unfinished)
            {
                // What is missing is still to be written, by nobody but the repack.
                note = null;
                report = report with { Problems = [ChecksumVerifier.Unfinished, .. report.Problems.Where(p => p != ChecksumVerifier.Unfinished && (p.IsUnreadable || File.Exists(Path.Combine(path, p.File))))] };
            }

            streams.Output.WriteLine(parsed.GetValue(json) ? ToJson(report, note, downloaded?.Unknown) : streams.Shown(ToText(report, note, downloaded?.Unknown ?? [], path, unfinished)));
            return report.Problems.Count == 0 ? KimiCommand.Ok : KimiCommand.Failed;
        });
        return command;
    }

    /// <exception cref="ArgumentException">There are none.</exception>
    private static DownloadChecksums ChecksumsOfDownload(string folder)
    {
        DownloadChecksums found = DownloadChecksums.Of(folder);
        return found.Known.Count > 0
            ? found
            : throw new ArgumentException($"'{folder}' holds no {RepackManifest.File}, as `kimi repack` writes, and no SHA-256 of its files, as `hf download` leaves in '.cache' or in the names of what its cache's links lead to: there are no checksums to compare with.");
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

    private static string ToText(VerificationReport report, string? note, IReadOnlyList<string> unknown, string folder, bool unfinished)
    {
        IEnumerable<string> lines = report.Problems.Count == 0
            ? [$"Whole: {report.Shards} shards, {report.Tensors} tensors, {InspectCommand.Bytes(report.Bytes)}."]
            : CheckpointCheck.Lines(report);
        string?[] notes = [note, unknown.Count == 0 ? null : $"No checksum is known of {string.Join(", ", unknown)}."];
        return string.Join('\n', [.. lines, .. notes.OfType<string>().Select(n => $"Note: {n}"), .. CheckpointCheck.Repair(report, folder, unfinished)]);
    }

    private static string ToJson(VerificationReport report, string? note, IReadOnlyList<string>? unknown) => JsonText.Write(json =>
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
        Write("fetch_again", report.FilesToFetch);
        if (unknown is not null)
        {
            Write("without_checksum", unknown);
        }

        json.WriteString("note", note);

        void Write(string name, IReadOnlyList<string> files)
        {
            json.WriteStartArray(name);
            foreach (string file in files)
            {
                json.WriteStringValue(file);
            }

            json.WriteEndArray();
        }
    });
}
