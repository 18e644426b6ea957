// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.RegularExpressions;

namespace KimiCpu.Checkpoints;

/// <summary>Something wrong with a downloaded checkpoint.</summary>
/// <param name="File">The file at fault, relative to the folder.</param>
/// <param name="Tensor">The tensor or field at fault; null where the whole file is.</param>
/// <param name="Problem">What was expected and what was found.</param>
/// <param name="Remedy">What to do about it; null for fetching the file again.</param>
internal sealed record VerificationProblem(string File, string? Tensor, string Problem, string? Remedy = null)
{
    /// <summary>Whether the file may be whole: it could not be looked into.</summary>
    public bool IsUnreadable { get; init; }

    /// <summary>Whether the file belongs to something else than a download of this family.</summary>
    public bool IsForeign => Remedy is not null && !IsUnreadable;

    public static VerificationProblem Of(CheckpointException e) =>
        new(Path.GetFileName(e.File), e.Tensor, e.Problem, e.IsIntact || e.IsUnreadable ? e.Remedy : null) { IsUnreadable = e.IsUnreadable };
}

/// <summary>What <see cref="CheckpointVerifier"/> found.</summary>
/// <param name="Shards">Shards that the index lists.</param>
/// <param name="Tensors">Tensors in the shards that could be read.</param>
/// <param name="Bytes">Of those shards.</param>
/// <param name="Problems">Empty for a whole download.</param>
internal sealed record VerificationReport(int Shards, int Tensors, long Bytes, IReadOnlyList<VerificationProblem> Problems)
{
    /// <summary>Files to fetch again.</summary>
    public IReadOnlyList<string> FilesToFetch => [.. Problems.Where(p => p.Remedy is null).Select(p => p.File).Distinct().Order(StringComparer.Ordinal)];
}

/// <summary>
/// Checks a download without stopping at the first problem: every file, size, header, offset and name, and every tensor
/// that the configuration calls for. Flipped bits inside weights cannot be seen without checksums.
/// </summary>
internal static partial class CheckpointVerifier
{
    /// <summary>Problems of single tensors beyond so many say nothing new.</summary>
    private const int MaxTensorProblems = 100;

    private static readonly string[] s_required = [KimiConfigReader.File, "tiktoken.model", "tokenizer_config.json"];

    /// <param name="folder">The checkpoint.</param>
    /// <param name="progress">Told after each shard: shards done, shards in all.</param>
    /// <param name="cancellationToken">Honoured between shards.</param>
    /// <exception cref="CheckpointException">There is no folder, or it may not be listed.</exception>
    public static VerificationReport Verify(string folder, Action<int, int>? progress = null, CancellationToken cancellationToken = default)
    {
        var problems = new List<VerificationProblem>();
        var files = new FolderCheckpointFiles(folder);
        RefuseUnlistable(folder);
        foreach (string file in s_required)
        {
            if (!files.Exists(file))
            {
                problems.Add(new VerificationProblem(file, null, "The file is missing."));
            }
        }

        if (files.Exists(KimiConfigReader.File))
        {
            Try(problems, () => KimiConfigReader.Read(files));
            if (problems.Find(p => p.IsForeign) is { } foreign)
            {
                // What another model lacks of this one's files is no damage.
                return new VerificationReport(0, 0, 0, [foreign]);
            }
        }

        ShardIndex? index = null;
        Try(problems, () => index = ShardIndex.Read(files));
        if (index is null)
        {
            return new VerificationReport(0, 0, 0, problems);
        }

        (int tensors, long bytes) = CheckShards(files, index, problems, progress, cancellationToken);
        CheckNumbering(index, problems);
        if (problems.Count == 0)
        {
            CheckModel(folder, problems);
        }

        return new VerificationReport(index.Shards.Count, tensors, bytes, problems);
    }

    /// <summary>Files in a folder that is closed to this user look as if they were missing, and would be downloaded again.</summary>
    private static void RefuseUnlistable(string folder)
    {
        try
        {
            _ = Directory.EnumerateFileSystemEntries(folder).Any();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(folder, e);
        }
    }

    private static (int Tensors, long Bytes) CheckShards(
        FolderCheckpointFiles files, ShardIndex index, List<VerificationProblem> problems, Action<int, int>? progress, CancellationToken cancellationToken)
    {
        int tensors = 0;
        long bytes = 0;
        var expected = new Dictionary<int, HashSet<string>>();
        foreach ((string name, int shard) in index.ShardOf ?? new Dictionary<string, int>())
        {
            (expected.TryGetValue(shard, out HashSet<string>? names) ? names : expected[shard] = []).Add(name);
        }

        for (int shard = 0; shard < index.Shards.Count; shard++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            string file = index.Shards[shard];
            if (!files.Exists(file))
            {
                problems.Add(new VerificationProblem(file, null, "The index lists this shard, but the file is missing."));
            }
            else
            {
                Try(problems, () =>
                {
                    List<TensorEntry> entries = SafetensorsHeader.Read(files, file, shard);
                    tensors += entries.Count;
                    bytes += files.Length(file);
                    if (index.ShardOf is not null)
                    {
                        CheckNames(file, expected[shard], entries, problems);
                    }
                });
            }

            progress?.Invoke(shard + 1, index.Shards.Count);
        }

        return (tensors, bytes);
    }

    private static void CheckNames(string file, HashSet<string> expected, List<TensorEntry> entries, List<VerificationProblem> problems)
    {
        HashSet<string> found = [.. entries.Select(e => e.Name)];
        IEnumerable<VerificationProblem> missing = expected.Except(found).Select(n => new VerificationProblem(file, n, "The index lists this tensor here, but the shard does not hold it."));
        IEnumerable<VerificationProblem> surplus = found.Except(expected).Select(n => new VerificationProblem(file, n, "The shard holds this tensor, but the index does not list it here."));
        problems.AddRange(missing.Concat(surplus).Take(MaxTensorProblems));
    }

    /// <summary>Shards named 00001 … of-000NN must all be listed.</summary>
    private static void CheckNumbering(ShardIndex index, List<VerificationProblem> problems)
    {
        foreach (IGrouping<string, Match> set in index.Shards.Select(s => NumberedShard().Match(s)).Where(m => m.Success).GroupBy(m => m.Groups["count"].Value))
        {
            HashSet<int> present = [.. set.Select(m => int.Parse(m.Groups["number"].ValueSpan, CultureInfo.InvariantCulture))];
            int count = int.Parse(set.Key, CultureInfo.InvariantCulture);
            for (int number = 1; number <= count; number++)
            {
                if (!present.Contains(number))
                {
                    problems.Add(new VerificationProblem(ShardIndex.File, null, $"Shard {number} of {count} is not listed."));
                }
            }
        }
    }

    private static void CheckModel(string folder, List<VerificationProblem> problems)
    {
        Try(problems, () =>
        {
            using Checkpoint checkpoint = Checkpoint.Open(folder);
            foreach (ModelTensor tensor in ModelTensors.Of(checkpoint.Config))
            {
                if (problems.Count >= MaxTensorProblems)
                {
                    break;
                }

                Try(problems, () =>
                {
                    if (tensor.Columns == 0)
                    {
                        checkpoint.ReadVector(tensor.Name, tensor.Rows);
                    }
                    else
                    {
                        checkpoint.ResolveMatrix(tensor.Name, tensor.Rows, tensor.Columns);
                    }
                });
            }
        });
    }

    private static void Try(List<VerificationProblem> problems, Action check)
    {
        try
        {
            check();
        }
        catch (CheckpointException e)
        {
            problems.Add(VerificationProblem.Of(e));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problems.Add(VerificationProblem.Of(CheckpointException.Unreadable("", e)));
        }
    }

    [GeneratedRegex(@"-(?<number>[0-9]{5})-of-(?<count>[0-9]{5})\.safetensors$")]
    private static partial Regex NumberedShard();
}
