// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.RegularExpressions;

namespace KimiCpu.Checkpoints;

/// <summary>Something wrong with a downloaded checkpoint.</summary>
/// <param name="File">The file at fault, relative to the folder.</param>
/// <param name="Tensor">The tensor or field at fault; null where the whole file is.</param>
/// <param name="Problem">What was expected and what was found.</param>
/// <param name="Remedy">What to do about it; null for fetching the file, once it is deleted where it is there.</param>
internal sealed record VerificationProblem(string File, string? Tensor, string Problem, string? Remedy = null)
{
    /// <summary>Whether the file may be whole: it could not be looked into.</summary>
    public bool IsUnreadable { get; init; }

    /// <summary>Whether the file belongs to something else than a download of this family.</summary>
    public bool IsForeign { get; init; }

    public static VerificationProblem Of(CheckpointException e) =>
        new(Path.GetFileName(e.File), e.Tensor, e.Problem, e.IsIntact || e.IsUnreadable ? e.Remedy : null) { IsUnreadable = e.IsUnreadable, IsForeign = e.IsForeign };
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
    /// <summary>Problems of one kind beyond so many say nothing new.</summary>
    private const int MaxAlike = 100;

    /// <summary>No checkpoint has so many: up to here missing ones are all named, since they are to be fetched.</summary>
    private const int MaxMissingShards = 10_000;

    private static readonly string[] s_required = [KimiConfigReader.File, "tiktoken.model", "tokenizer_config.json"];

    /// <summary>Where none of them is, no download has begun.</summary>
    private static readonly string[] s_beginnings = [KimiConfigReader.File, ShardIndex.File, ShardIndex.SingleFile];

    /// <param name="folder">The checkpoint.</param>
    /// <param name="progress">Told after each shard: what is being looked at, shards done, shards in all.</param>
    /// <param name="cancellationToken">Honoured between shards and tensors.</param>
    /// <exception cref="CheckpointException">There is no folder, or it may not be listed.</exception>
    public static VerificationReport Verify(string folder, Action<string, int, int>? progress = null, CancellationToken cancellationToken = default)
    {
        var problems = new List<VerificationProblem>();
        var files = new FolderCheckpointFiles(folder);
        RefuseUnlistable(folder);
        if (s_beginnings.All(f => IsMissing(files, f)) && files.OtherContents is { } other)
        {
            // No download of a checkpoint has begun here: there is another folder to give, and nothing to fetch.
            return new VerificationReport(0, 0, 0, [new VerificationProblem(KimiConfigReader.File, null, "The file is missing.", other) { IsForeign = true }]);
        }

        foreach (string file in s_required)
        {
            Try(problems, () =>
            {
                if (!files.Exists(file))
                {
                    problems.Add(new VerificationProblem(file, null, "The file is missing.", files.InsteadOf(file)));
                }
            });
        }

        if (!problems.Exists(p => p.File == KimiConfigReader.File))
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
            CheckModel(files, problems, progress, cancellationToken);
        }

        return new VerificationReport(index.Shards.Count, tensors, bytes, problems);
    }

    /// <summary>Whether it is known that a file is not there.</summary>
    private static bool IsMissing(FolderCheckpointFiles files, string file)
    {
        try
        {
            return !files.Exists(file);
        }
        catch (CheckpointException)
        {
            return false;
        }
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
        FolderCheckpointFiles files, ShardIndex index, List<VerificationProblem> problems, Action<string, int, int>? progress, CancellationToken cancellationToken)
    {
        int tensors = 0;
        long bytes = 0;
        int missing = 0;
        int compared = 0;
        int differing = 0;
        List<string> others = [];
        var expected = new Dictionary<int, HashSet<string>>();
        foreach ((string name, int shard) in index.ShardOf ?? new Dictionary<string, int>())
        {
            (expected.TryGetValue(shard, out HashSet<string>? names) ? names : expected[shard] = []).Add(name);
        }

        for (int shard = 0; shard < index.Shards.Count; shard++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            string file = index.Shards[shard];
            Try(problems, () =>
            {
                if (!files.Exists(file))
                {
                    if (++missing <= MaxMissingShards)
                    {
                        problems.Add(new VerificationProblem(file, null, "The index lists this shard, but the file is missing."));
                    }

                    return;
                }

                List<TensorEntry> entries = SafetensorsHeader.Read(files, file, shard);
                tensors += entries.Count;
                bytes += files.Length(file);
                if (index.ShardOf is not null)
                {
                    compared++;
                    differing += CheckNames(file, expected[shard], entries, problems) ? 0 : 1;
                    others.AddRange(entries.Exists(e => expected[shard].Contains(e.Name)) ? [] : [file]);
                }
            });
            progress?.Invoke("shard", shard + 1, index.Shards.Count);
        }

        if (missing > MaxMissingShards)
        {
            problems.Add(new VerificationProblem(ShardIndex.File, null, $"The index lists {missing - MaxMissingShards:N0} more shards that are missing.", "No checkpoint has so many: delete the index and fetch it again before the shards."));
        }

        // An index of another revision may agree with none of them. Shards that are missing or damaged speak for neither.
        if (differing < compared && 2 * differing <= compared)
        {
            // One line says of all their tensors what is wrong, and each line would have the index fetched first.
            problems.RemoveAll(p => p.Tensor is not null && others.Contains(p.File));
            problems.AddRange(others.Select(f => new VerificationProblem(f, null, "It has none of the tensors that the index lists here, and the index agrees with others: it is another file under this name.")));
            differing -= others.Count;
        }

        if (differing > 0)
        {
            problems.Add(new VerificationProblem(ShardIndex.File, null, $"It differs from the headers of {differing:N0} of {compared:N0} shards."));
        }

        return (tensors, bytes);
    }

    private static bool CheckNames(string file, HashSet<string> expected, List<TensorEntry> entries, List<VerificationProblem> problems)
    {
        int before = problems.Count;
        HashSet<string> found = [.. entries.Select(e => e.Name)];
        IEnumerable<VerificationProblem> missing = expected.Except(found).Select(n => new VerificationProblem(file, n, "The index lists this tensor here, but the shard does not hold it.", ShardIndex.WhereItDiffers));
        IEnumerable<VerificationProblem> surplus = found.Except(expected).Select(n => new VerificationProblem(file, n, "The shard holds this tensor, but the index does not list it here.", ShardIndex.WhereItDiffers));
        problems.AddRange(missing.Concat(surplus).Take(MaxAlike));
        return problems.Count == before;
    }

    /// <summary>
    /// Shards whose names say of how many they are must all be listed, in whatever width: <c>00001-of-00003</c>, and the releases' <c>1-of-61</c> and <c>00001-of-000062</c>.
    /// Some programs count them from 0.
    /// </summary>
    private static void CheckNumbering(ShardIndex index, List<VerificationProblem> problems)
    {
        IEnumerable<IGrouping<int, int>> sets = index.Shards.Select(s => NumberedShard().Match(s)).Where(m => m.Success).GroupBy(m => Number(m, "count"), m => Number(m, "number"));
        IEnumerable<VerificationProblem> missing = sets.SelectMany(set => Enumerable.Range(set.Contains(0) ? 0 : 1, set.Key).Except(set).Select(n => new VerificationProblem(ShardIndex.File, null, $"Shard {n} of {set.Key} is not listed.")));
        problems.AddRange(missing.Take(MaxAlike));

        static int Number(Match match, string group) => int.Parse(match.Groups[group].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);
    }

    private static void CheckModel(FolderCheckpointFiles files, List<VerificationProblem> problems, Action<string, int, int>? progress, CancellationToken cancellationToken)
    {
        Try(problems, () =>
        {
            using Checkpoint checkpoint = Checkpoint.Open(files, (_, _) => cancellationToken.ThrowIfCancellationRequested());
            var shapes = new List<WrittenShape>();
            foreach (ModelTensor tensor in ModelTensors.Of(checkpoint.Config))
            {
                cancellationToken.ThrowIfCancellationRequested();
                Try(problems, () =>
                {
                    if (tensor.Columns == 0)
                    {
                        checkpoint.ReadVector(tensor.Name, tensor.Rows);
                    }
                    else if (checkpoint.ResolveMatrix(tensor.Name, tensor.Rows, tensor.Columns, readWeightShape: false).Format == StoredFormat.Int4Group32)
                    {
                        shapes.Add(new WrittenShape(checkpoint.WeightShapeOf(tensor.Name), tensor.Rows, tensor.Columns));
                    }
                });
                if (problems.Count >= MaxAlike)
                {
                    return;
                }
            }

            foreach (IGrouping<int, WrittenShape> shard in shapes.GroupBy(s => s.Entry.Shard).OrderBy(g => g.Key))
            {
                if (problems.Count >= MaxAlike)
                {
                    return;
                }

                Try(problems, () => CheckShapes(files, checkpoint, shard, problems, cancellationToken));
                progress?.Invoke("shapes of shard", shard.Key + 1, checkpoint.Shards.Count);
            }
        });
    }

    /// <summary>Kimi K2 has 69,000 of these, scattered over all shards, which takes minutes on a hard disk: they are read in the order in which they lie.</summary>
    private static void CheckShapes(FolderCheckpointFiles files, Checkpoint checkpoint, IGrouping<int, WrittenShape> shard, List<VerificationProblem> problems, CancellationToken cancellationToken)
    {
        WrittenShape[] shapes = [.. shard.OrderBy(s => s.Entry.Offset)];
        IEnumerable<byte[]> read = files.ReadEach(checkpoint.Shards[shard.Key], shapes.Select(s => (s.Entry.Offset, (int)s.Entry.Length)));
        foreach ((WrittenShape shape, byte[] bytes) in shapes.Zip(read))
        {
            cancellationToken.ThrowIfCancellationRequested();
            Try(problems, () => checkpoint.CheckWeightShape(shape.Entry, bytes, shape.Rows, shape.Columns));
            if (problems.Count >= MaxAlike)
            {
                return;
            }
        }
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

    /// <summary>A tensor that holds the shape of a matrix, and that shape by the configuration.</summary>
    private readonly record struct WrittenShape(TensorEntry Entry, int Rows, int Columns);

    [GeneratedRegex(@"-(?<number>[0-9]{1,9})-of-(?<count>[0-9]{1,9})\.safetensors$")]
    private static partial Regex NumberedShard();
}
