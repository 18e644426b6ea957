// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tokens;

namespace KimiCpu.Cli.Commands;

/// <summary>Whether a folder holds all that a model needs, by headers, names, shapes, tokenizer and template.</summary>
/// <param name="Report">What is wrong.</param>
/// <param name="Note">What is doubtful and no damage; null for nothing.</param>
internal sealed record CheckpointCheck(VerificationReport Report, string? Note)
{
    /// <param name="folder">The checkpoint.</param>
    /// <param name="progress">Told after each shard.</param>
    /// <param name="cancellationToken">Honoured between shards and tensors.</param>
    /// <exception cref="CheckpointException">There is no folder, or it may not be listed.</exception>
    public static CheckpointCheck Of(string folder, ProgressLine progress, CancellationToken cancellationToken)
    {
        VerificationReport report = CheckpointVerifier.Verify(folder, progress.Report, cancellationToken);
        if (report.Problems.Any(p => p.File == KimiConfigReader.File && p.IsForeign))
        {
            return new CheckpointCheck(report, null);
        }

        IEnumerable<VerificationProblem> others = TokenizerProblems(folder, report).Concat(TemplateProblems(folder, out string? note)).Except(report.Problems);
        return new CheckpointCheck(report with { Problems = [.. report.Problems, .. others] }, note);
    }

    /// <summary>The problems for people, one a line.</summary>
    public static IEnumerable<string> Lines(VerificationReport report) =>
        report.Problems.Select(p => $"{p.File}{(p.Tensor is null ? "" : $", {p.Tensor}")}: {p.Problem}{(p.Remedy is null ? "" : $" {p.Remedy}")}");

    /// <summary>What repairs a folder, behind an empty line; none where nothing is to be fetched.</summary>
    /// <param name="report">What is wrong with it.</param>
    /// <param name="folder">The checkpoint.</param>
    /// <param name="unfinished">Whether a repack is still to write files there.</param>
    public static IEnumerable<string> Repair(VerificationReport report, string folder, bool unfinished)
    {
        if (report.FilesToFetch.Count == 0)
        {
            yield break;
        }

        yield return "";

        // Downloaders take what is there for whole, and so does a repack what it has written. Links that lead nowhere are replaced.
        string[] damaged = [.. report.FilesToFetch.Where(f => !Presence.IsMissing(Path.Combine(folder, f)))];
        string[] missing = [.. report.FilesToFetch.Except(damaged)];
        bool repacked = File.Exists(Path.Combine(folder, RepackManifest.File));
        if (repacked)
        {
            string again = damaged.Length == 0 ? "Run `kimi repack` again." : $"Delete these files and run `kimi repack` again: {string.Join(", ", damaged)}";
            yield return unfinished ? again : $"Where the source of the repack is at hand: {again}";
        }

        if (unfinished)
        {
            yield break;
        }

        if (damaged.Length > 0)
        {
            // A blob that stays in its cache is linked to again, as it is.
            string links = damaged.Any(f => new FileInfo(Path.Combine(folder, f)).LinkTarget is not null) ? ", with what they are links to," : "";
            yield return $"{(repacked ? "Elsewhere delete" : "Delete")}{links} and fetch again{(repacked ? ", from where this folder came" : "")}: {string.Join(", ", damaged)}";
        }

        if (missing.Length > 0)
        {
            yield return $"{(repacked ? "Elsewhere fetch, from where this folder came" : "Fetch")}: {string.Join(", ", missing)}";
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
}
