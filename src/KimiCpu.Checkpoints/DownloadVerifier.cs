// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Security.Cryptography;

namespace KimiCpu.Checkpoints;

/// <summary>Reads a download from the drive and compares every byte, by checksums, with what its hub has.</summary>
internal static class DownloadVerifier
{
    /// <param name="folder">The checkpoint.</param>
    /// <param name="checksums">Those that are known of its files.</param>
    /// <param name="progress">Told after every piece: bytes read, bytes in all.</param>
    /// <param name="cancellationToken">Honoured between pieces.</param>
    /// <returns>A problem for every file that differs or cannot be read, and for shards without a checksum; empty where there is none.</returns>
    public static IReadOnlyList<VerificationProblem> Verify(string folder, DownloadChecksums checksums, Action<long, long>? progress = null, CancellationToken cancellationToken = default)
    {
        var files = new FolderCheckpointFiles(folder);
        var problems = new List<VerificationProblem>();
        var lengths = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (string file in checksums.Known.Keys)
        {
            Try(problems, file, () => lengths.Add(file, files.Length(file)));
        }

        long total = lengths.Values.Sum();
        long before = 0;
        foreach ((string file, long length) in lengths)
        {
            Try(problems, file, () =>
            {
                string found = Read(files, file, done => progress?.Invoke(before + done, total), cancellationToken);
                if (found != checksums.Known[file])
                {
                    problems.Add(new VerificationProblem(file, null, $"Its bytes are not those of the hub: expected the SHA-256 {checksums.Known[file]}, found {found}."));
                }
            });
            before += length;
        }

        // Who asks for checksums would take them for compared.
        string remedy = checksums.AreNoted
            ? "Run the same `hf download` again: of what it knows no checksum it compares what is there with the hub."
            : "In a hub's cache files have one that are links into its blobs: delete this one and run `hf download` again.";
        problems.AddRange(ShardsOf(files).Intersect(checksums.Unknown).Select(f => new VerificationProblem(f, null, "No checksum is known of it, though of other files.", remedy)));
        return problems;
    }

    /// <summary>None where the index is not as it should be, of which others tell.</summary>
    private static IEnumerable<string> ShardsOf(FolderCheckpointFiles files)
    {
        try
        {
            return ShardIndex.Read(files).Shards;
        }
        catch (CheckpointException)
        {
            return [];
        }
    }

    private static string Read(FolderCheckpointFiles files, string name, Action<long> progress, CancellationToken cancellationToken)
    {
        using DirectFile file = files.OpenDirect(name);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        long done = 0;
        ReadAhead.Run([new FileRange(file, files.PathOf(name), 0, file.Length)], bytes =>
        {
            hash.AppendData(bytes);
            progress(done += bytes.Length);
        }, ChecksumVerifier.Again, cancellationToken);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Try(List<VerificationProblem> problems, string file, Action check)
    {
        try
        {
            check();
        }
        catch (CheckpointException e)
        {
            problems.Add(VerificationProblem.Of(e) with { File = file });
        }
    }
}
