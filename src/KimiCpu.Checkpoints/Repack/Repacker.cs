// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>How far a repack is.</summary>
/// <param name="File">The file at work.</param>
/// <param name="Number">Of that file, counted from 1.</param>
/// <param name="Count">Files in all.</param>
/// <param name="IsChecking">Whether it is read back; otherwise it is written.</param>
/// <param name="FileDone">Bytes of it that have been written, or read back.</param>
/// <param name="FileBytes">Its length.</param>
/// <param name="Done">Bytes that this run has written and read back, counted twice therefore.</param>
/// <param name="Total">What <paramref name="Done"/> will be in the end.</param>
internal readonly record struct RepackProgress(string File, int Number, int Count, bool IsChecking, long FileDone, long FileBytes, long Done, long Total);

/// <summary>What a run did.</summary>
/// <param name="Written">Files written and read back.</param>
/// <param name="Bytes">Of those.</param>
/// <param name="Kept">Files that were there from an earlier run.</param>
internal readonly record struct RepackResult(int Written, long Bytes, int Kept);

/// <summary>
/// Writes a checkpoint anew by a plan: file by file, each beside its place, read back from the drive, compared with the
/// checksums of what was read from the source, and only then moved there and entered into the journal, from which the next
/// run goes on. The source is only read.
/// </summary>
internal sealed class Repacker(RepackSource source, RepackPlan plan, string target, ITargetDrive? targetDrive = null)
{
    /// <summary>What is written goes to the drive in such steps, so that neither the memory fills with it nor the end takes long.</summary>
    private const long SettleBytes = 256L << 20;

    private const string Again = "Check the drive, and run again: what is finished stays.";

    private const string Full = "Free space on the drive or check it, and run again: what is finished stays.";

    private readonly ITargetDrive _drive = targetDrive ?? new FileSystemDrive();
    private readonly string _target = Path.GetFullPath(target);
    private readonly Dictionary<string, DirectFile> _open = new(StringComparer.Ordinal);

    /// <summary>Bytes to be written, less those of files that an earlier run has finished.</summary>
    /// <exception cref="ArgumentException">The target is no place for it.</exception>
    /// <exception cref="CheckpointException">The source is not the one that an earlier run began with.</exception>
    public long BytesToWrite()
    {
        RepackFolder.Check(source.Folder, _target);
        RepackManifest manifest = Open();
        return Missing(manifest).Sum(f => f.Bytes);
    }

    /// <param name="progress">Told after every piece.</param>
    /// <param name="cancellationToken">Honoured between pieces; what is finished stays.</param>
    /// <exception cref="ArgumentException">The target is no place for it.</exception>
    /// <exception cref="CheckpointException">A file of the source cannot be read or has changed, or what was written does not come back.</exception>
    /// <exception cref="IOException">The drive is full, or fails.</exception>
    public RepackResult Run(IProgress<RepackProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        RepackFolder.Check(source.Folder, _target);
        Directory.CreateDirectory(_target);
        using FileStream gate = Lock();
        RepackManifest manifest = Open();
        TargetFile[] missing = Missing(manifest);
        long bytes = missing.Sum(f => f.Bytes);
        string[] leftovers = Leftovers(missing);
        CheckSpace(missing.Length == 0 ? 0 : bytes + JournalBytes(), leftovers.Sum(path => new FileInfo(path).Length));
        try
        {
            Begin(manifest, missing, leftovers);
            int number = plan.Files.Count - missing.Length;
            long done = 0;
            foreach (TargetFile file in missing)
            {
                var begin = new RepackProgress(file.Name, ++number, plan.Files.Count, IsChecking: false, FileDone: 0, file.Bytes, done, Total: 2 * bytes);
                manifest.Written[file.Name] = Write(file, new FileReport(progress, begin), cancellationToken);
                Save(manifest);
                done += 2 * file.Bytes;
            }

            source.CheckUnchanged();
            manifest.IsComplete = true;
            Save(manifest);
        }
        finally
        {
            foreach (DirectFile file in _open.Values)
            {
                file.Dispose();
            }

            _open.Clear();
        }

        return new RepackResult(missing.Length, bytes, plan.Files.Count - missing.Length);
    }

    private FileStream Lock()
    {
        string path = Path.Combine(_target, RepackManifest.LockFile);
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (IOException e)
        {
            throw new IOException($"'{path}' cannot be locked: {e.Message} Another run may be writing to this folder.", e);
        }
    }

    /// <summary>The journal of an earlier run from the same source, or a new one.</summary>
    private RepackManifest Open()
    {
        if (!Directory.Exists(_target) || RepackManifest.TryRead(_target) is not { } manifest)
        {
            return new RepackManifest(source.Files);
        }

        source.CheckSame(manifest.Source);
        return manifest;
    }

    /// <summary>Whether a file is there as the journal and the plan have it, by its length and what it begins with; <c>kimi verify --checksums</c> reads it all.</summary>
    private bool IsWritten(RepackManifest manifest, TargetFile file)
    {
        string path = Path.Combine(_target, file.Name);
        if (!manifest.Written.TryGetValue(file.Name, out WrittenFile? written) || written.Bytes != file.Bytes || !File.Exists(path) || new FileInfo(path).Length != file.Bytes)
        {
            return false;
        }

        var files = new FolderCheckpointFiles(_target);
        return files.Read(file.Name, 0, file.Head.Length).AsSpan().SequenceEqual(file.Head);
    }

    /// <summary>Files to be written, in that order. The index is one of them wherever any is: without it nobody takes for a checkpoint what is left.</summary>
    private TargetFile[] Missing(RepackManifest manifest)
    {
        TargetFile[] missing = [.. plan.Files.Where(f => !IsWritten(manifest, f))];
        return missing.Length == 0 || missing[^1] == plan.Files[^1] ? missing : [.. missing, plan.Files[^1]];
    }

    /// <summary>What will be written again and would count as space in use, the index first: what a run that was killed has left, and files that the journal does not know, or knows otherwise.</summary>
    private string[] Leftovers(TargetFile[] missing) =>
        [.. missing.Reverse().Select(f => Path.Combine(_target, f.Name)).SelectMany(path => new[] { path, Unfinished(path) }).Where(File.Exists)];

    /// <summary>
    /// The journal before the shards, so that it never calls whole what this run takes apart. It takes space itself; what no journal vouches for, and the index, without which
    /// nobody takes the folder for a checkpoint, go before it.
    /// </summary>
    private void Begin(RepackManifest manifest, TargetFile[] missing, string[] leftovers)
    {
        IEnumerable<TargetFile> known = missing.Where(f => f != plan.Files[^1] && manifest.Written.ContainsKey(f.Name));
        HashSet<string> paths = [.. known.Select(f => Path.Combine(_target, f.Name))];
        ILookup<bool, string> vouchedFor = leftovers.ToLookup(paths.Contains);
        Array.ForEach([.. vouchedFor[false]], File.Delete);
        manifest.IsComplete = missing.Length == 0 && manifest.IsComplete;
        Array.ForEach(missing, f => manifest.Written.Remove(f.Name));
        Save(manifest);
        Array.ForEach([.. vouchedFor[true]], File.Delete);
    }

    private void Save(RepackManifest manifest)
    {
        try
        {
            manifest.Save(_target);
        }
        catch (IOException e)
        {
            throw new IOException($"'{Path.Combine(_target, RepackManifest.File)}' could not be written: {e.Message} {Full}", e);
        }
    }

    /// <summary>What the journal will take at most beside the one that is there: it is written beside its place each time, and grows to tens of megabytes.</summary>
    private long JournalBytes()
    {
        long whole = RepackManifest.MostBytes(source.Files, plan.Files);
        var there = new FileInfo(Path.Combine(_target, RepackManifest.File));
        return (2 * whole) - (there.Exists ? Math.Min(whole, there.Length) : 0);
    }

    private static string Unfinished(string path) => path + ".unfinished";

    /// <param name="bytes">To be written, the journal included.</param>
    /// <param name="leftovers">Bytes that will be free before.</param>
    private void CheckSpace(long bytes, long leftovers)
    {
        long free = _drive.FreeBytes(_target) + leftovers;
        if (free < bytes)
        {
            throw new IOException($"The drive of '{_target}' has {Size(free)} free, but {Size(bytes)} are still to be written. Free {Size(bytes - free)}, or give a folder on another drive.");
        }
    }

    private WrittenFile Write(TargetFile file, FileReport report, CancellationToken cancellationToken)
    {
        string path = Path.Combine(_target, file.Name);
        string unfinished = Unfinished(path);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        try
        {
            var checksums = new FileChecksums(file.Tensors, file.Bytes - file.Tensors.Sum(t => t.Length));
            using (Stream stream = _drive.Create(unfinished, file.Bytes))
            {
                Copy(file, stream, checksums, report, cancellationToken);
            }

            WrittenFile written = checksums.Result(file.Name);
            if (ChecksumVerifier.Difference(unfinished, file.Tensors, written, Again, report.Checked, cancellationToken) is { } problem)
            {
                throw new CheckpointException(path, problem.Tensor, $"It was written, but read back it is not the same: {problem.Problem}", "Check drive and memory, and run again: what is finished stays.");
            }

            LastingMove.Move(unfinished, path);
            return written;
        }
        catch (IOException e)
        {
            throw new IOException($"'{path}' could not be written: {e.Message} {Full}", e);
        }
        finally
        {
            UnfinishedFile.Discard(unfinished);
        }
    }

    private void Copy(TargetFile file, Stream stream, FileChecksums checksums, FileReport report, CancellationToken cancellationToken)
    {
        long settled = 0;
        Append(file.Head);
        ReadAhead.Run(file.Ranges.Select(Open), Append, Again, cancellationToken);
        Settle(stream);

        void Append(ReadOnlySpan<byte> bytes)
        {
            checksums.Append(bytes);
            stream.Write(bytes);
            if (checksums.Bytes - settled >= SettleBytes)
            {
                Settle(stream);
                settled = checksums.Bytes;
            }

            report.Copied(checksums.Bytes);
        }
    }

    /// <summary>Leaves what was written to the drive alone, so that reading it back asks the drive.</summary>
    private static void Settle(Stream stream)
    {
        stream.Flush();
        if (stream is FileStream file)
        {
            file.Flush(flushToDisk: true);
            PageCache.TryForget(file.SafeFileHandle);
        }
    }

    private FileRange Open(SourceRange range)
    {
        string path = Path.Combine(source.Folder, range.File);
        if (!_open.TryGetValue(range.File, out DirectFile? file))
        {
            try
            {
                file = DirectFile.Open(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw CheckpointException.Unreadable(path, e);
            }

            _open.Add(range.File, file);
            source.CheckUnchanged(range.File);
        }

        return new FileRange(file, path, range.Offset, range.Length);
    }

    private static string Size(long bytes) => bytes >= 1_000_000_000 ? FormattableString.Invariant($"{bytes / 1e9:F1} GB") : FormattableString.Invariant($"{bytes / 1e6:F1} MB");

    /// <summary>Progress of one file.</summary>
    private sealed class FileReport(IProgress<RepackProgress>? progress, RepackProgress begin)
    {
        public void Copied(long bytes) => progress?.Report(begin with { FileDone = bytes, Done = begin.Done + bytes });

        public void Checked(long bytes) => progress?.Report(begin with { IsChecking = true, FileDone = bytes, Done = begin.Done + begin.FileBytes + bytes });
    }
}
