// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Reads files back from the drive and compares every byte, by checksums, with what was written.</summary>
internal static class ChecksumVerifier
{
    /// <summary>Of a folder whose journal says that files are still to be written.</summary>
    public static readonly VerificationProblem Unfinished = new(RepackManifest.File, null, "The repack has not been finished.", "Run `kimi repack` again: it goes on, or says why it cannot.");

    /// <summary>What the user is told to do where a read fails.</summary>
    public const string Again = "Check the drive, and verify again while nothing writes to the file.";

    /// <summary>Compares a repacked checkpoint with the checksums that lie in it.</summary>
    /// <param name="folder">The checkpoint.</param>
    /// <param name="progress">Told after every piece: bytes read, bytes in all.</param>
    /// <param name="cancellationToken">Honoured between pieces.</param>
    /// <returns>A problem for every file that differs; empty where none does.</returns>
    /// <exception cref="ArgumentException">The folder holds no checksums.</exception>
    public static IReadOnlyList<VerificationProblem> Verify(string folder, Action<long, long>? progress = null, CancellationToken cancellationToken = default)
    {
        RepackManifest manifest = RepackManifest.TryRead(folder) ?? throw new ArgumentException($"'{folder}' holds no {RepackManifest.File}, as `kimi repack` writes.");
        var files = new FolderCheckpointFiles(folder);
        var problems = new List<VerificationProblem>();
        if (!manifest.IsComplete)
        {
            problems.Add(Unfinished);
        }

        long total = manifest.Written.Values.Sum(f => f.Bytes);
        long before = 0;
        foreach (WrittenFile file in manifest.Written.Values)
        {
            try
            {
                IReadOnlyList<TensorEntry> tensors = file.Tensors.Count == 0
                    ? []
                    : [.. SafetensorsHeader.Read(files, file.Name, 0).OrderBy(t => t.Offset).ThenBy(t => t.Length)];
                if (Difference(files.PathOf(file.Name), tensors, file, Again, done => progress?.Invoke(before + done, total), cancellationToken) is { } problem)
                {
                    problems.Add(problem);
                }
            }
            catch (CheckpointException e)
            {
                problems.Add(VerificationProblem.Of(e) with { File = file.Name });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                problems.Add(VerificationProblem.Of(CheckpointException.Unreadable(file.Name, e)) with { File = file.Name });
            }

            before += file.Bytes;
        }

        return problems;
    }

    /// <summary>Reads a file past the page cache, where the system allows, and says how it differs from what was written.</summary>
    /// <param name="path">Of the file.</param>
    /// <param name="tensors">In order of their data.</param>
    /// <param name="written">What is expected.</param>
    /// <param name="remedy">What the user is told to do where a read fails.</param>
    /// <param name="progress">Told after every piece: bytes read.</param>
    /// <param name="cancellationToken">Honoured between pieces.</param>
    /// <returns>Null where it is the same.</returns>
    /// <exception cref="CheckpointException">It cannot be read to its end, which says nothing of what it holds.</exception>
    public static VerificationProblem? Difference(
        string path, IReadOnlyList<TensorEntry> tensors, WrittenFile written, string remedy, Action<long> progress, CancellationToken cancellationToken)
    {
        using DirectFile file = DirectFile.Open(path);
        if (file.Length != written.Bytes)
        {
            return new VerificationProblem(written.Name, null, $"Expected {written.Bytes:N0} bytes, found {file.Length:N0}.");
        }

        var checksums = new FileChecksums(tensors, file.Length - tensors.Sum(t => t.Length));
        ReadAhead.Run([new FileRange(file, path, 0, file.Length)], bytes =>
        {
            checksums.Append(bytes);
            progress(checksums.Bytes);
        }, remedy, cancellationToken);
        WrittenFile found = checksums.Result(written.Name);
        string[] damaged = [.. tensors.Select(t => t.Name).Where(n => found.Tensors.GetValueOrDefault(n) != written.Tensors.GetValueOrDefault(n))];
        if (damaged.Length > 0)
        {
            string others = damaged.Length == 1 ? "" : $", and those of {damaged.Length - 1} more tensors of this file";
            return new VerificationProblem(written.Name, damaged[0], $"Its bytes are not those that were read from the source{others}.");
        }

        return found.Checksum == written.Checksum
            ? null
            : new VerificationProblem(written.Name, null, $"Expected the checksum {written.Checksum}, found {found.Checksum}.");
    }
}
