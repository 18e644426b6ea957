// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;

namespace KimiCpu.Weights;

/// <summary>The shards of a checkpoint as files to read from, with the errors that users know from the checkpoint.</summary>
internal sealed unsafe class CheckpointWeightFiles : IWeightFiles
{
    private readonly string[] _paths;
    private readonly DirectFile[] _files;
    private readonly PatientReads[] _reads;
    private readonly int[] _drives;

    private CheckpointWeightFiles(string[] paths, DirectFile[] files)
    {
        _paths = paths;
        _files = files;
        _reads = [.. files.Select(f => new PatientReads(f.Read, () => f.HasChanged))];
        string[] drives = [.. paths.Select(Checkpoints.DriveNames.Of)];
        string[] distinct = [.. drives.Distinct()];
        _drives = [.. drives.Select(d => Array.IndexOf(distinct, d))];
        DrivesUsed = distinct;
    }

    public int Count => _files.Length;

    /// <summary>Devices, mount points or drive letters, by <see cref="DriveOf"/>.</summary>
    public IReadOnlyList<string> DrivesUsed { get; }

    /// <summary>Whether all reads go past the page cache.</summary>
    public bool IsDirect => _files.All(f => f.IsDirect);

    /// <exception cref="CheckpointException">A shard cannot be opened.</exception>
    /// <exception cref="NotSupportedException">The checkpoint does not lie on a drive.</exception>
    public static CheckpointWeightFiles Open(Checkpoint checkpoint)
    {
        var files = new List<DirectFile>();
        try
        {
            foreach (string shard in checkpoint.Shards)
            {
                DirectFile file = checkpoint.Files.OpenDirect(shard);
                files.Add(file);
                if (file.Length != checkpoint.LengthOf(files.Count - 1))
                {
                    throw new CheckpointException(checkpoint.Files.PathOf(shard), null, $"The file has {file.Length:N0} bytes; it had {checkpoint.LengthOf(files.Count - 1):N0} a moment ago.", "Open the model when nothing writes to the file any more; `kimi verify` says whether it is whole.");
                }
            }

            return new CheckpointWeightFiles([.. checkpoint.Shards.Select(checkpoint.Files.PathOf)], [.. files]);
        }
        catch
        {
            files.ForEach(f => f.Dispose());
            throw;
        }
    }

    /// <summary>What <see cref="IWeightFiles.Failure"/> says, of a file by its path.</summary>
    public static CheckpointException Failure(string path, string tensor, long offset, string problem, Exception? cause) =>
        new(path, tensor, $"Reading at byte {offset:N0} failed: {problem}", "Check the drive; `kimi verify` lists every damaged file of a checkpoint.", cause);

    public int DriveOf(int file) => _drives[file];

    public void Read(int file, long offset, byte* target, int count) => _reads[file].Read(offset, target, count);

    public Exception Failure(int file, string tensor, long offset, string problem, Exception? cause) => Failure(_paths[file], tensor, offset, problem, cause);

    public void Dispose() => Array.ForEach(_files, f => f.Dispose());
}
