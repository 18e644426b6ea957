// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>A checkpoint folder is incomplete, damaged, or of a kind that is not supported.</summary>
public sealed class CheckpointException : KimiException
{
    /// <summary>For a file that is not there; what is there and damaged is to be deleted first, since downloaders take it for whole.</summary>
    internal const string FetchMissing = $"Fetch this file; {ListedByVerify}";

    private const string ListedByVerify = "`kimi verify` lists every missing or damaged file of a checkpoint.";

    private const string LinksAlone =
        "Mount or copy what the links lead to, too: of a hub's cache the whole folder 'models--…', with the folder below 'snapshots' in it as the model's; or copy with links followed, as `cp -rL` does.";

    /// <summary>Creates the exception.</summary>
    /// <param name="file">The file at fault, as a path or a name inside the checkpoint.</param>
    /// <param name="tensor">The tensor or field at fault; null where the whole file is.</param>
    /// <param name="problem">What was expected and what was found.</param>
    /// <param name="remedy">What to do about it; null for deleting the file and fetching it again.</param>
    /// <param name="innerException">The cause, if any.</param>
    public CheckpointException(string file, string? tensor, string problem, string? remedy = null, Exception? innerException = null)
        : base(Compose(file, tensor, problem, remedy), innerException)
    {
        File = file;
        Tensor = tensor;
        Problem = problem;
        Remedy = remedy;
    }

    /// <summary>The file at fault.</summary>
    public string File { get; }

    /// <summary>The tensor or field at fault; null where the whole file is.</summary>
    public string? Tensor { get; }

    /// <summary>What was expected and what was found.</summary>
    public string Problem { get; }

    /// <summary>What to do about it; null for deleting the file and fetching it again.</summary>
    internal string? Remedy { get; }

    /// <summary>Whether the file is what it was meant to be, or would be no other if it were fetched again.</summary>
    internal bool IsIntact { get; init; }

    /// <summary>Whether the file is of a model that is not of this family.</summary>
    internal bool IsForeign { get; init; }

    /// <summary>Whether the file is there and could not be looked into, or not to its end, so that nobody knows what is wrong with it.</summary>
    internal bool IsUnreadable { get; private init; }

    /// <summary>For a file or folder that the system does not let be read, or that is not there after all.</summary>
    /// <param name="path">Of it.</param>
    /// <param name="cause">What the system says.</param>
    /// <param name="kind">What it is; null where the system is to say that.</param>
    internal static CheckpointException Unreadable(string path, Exception cause, string? kind = null) => cause is FileNotFoundException or DirectoryNotFoundException
        ? NotFound(path, cause)
        : new(path, null, $"The {kind ?? (Directory.Exists(path) ? "folder" : "file")} cannot be read: {cause.Message}", "Check the drive and the permissions.", cause) { IsUnreadable = cause is not ArgumentException };

    /// <summary>For a file that was opened and then could not be read to its end: the drive fails, or the file was changed meanwhile. Neither tells what the file holds.</summary>
    internal static CheckpointException ReadFailed(string path, long offset, string remedy, Exception cause) =>
        new(path, null, $"Reading at byte {offset:N0} failed: {cause.Message}", remedy, cause) { IsUnreadable = true };

    /// <summary>A link whose target's folder is not there has lost more than one file, and those are whole where they are: only part of a hub's cache was mounted or copied.</summary>
    private static CheckpointException NotFound(string path, Exception cause) => RealPath.TargetWithoutFolder(path) is { } target
        ? new(path, null, $"It is a link to '{target}', and the folder of that is not there.", LinksAlone, cause) { IsIntact = true }
        : new(path, null, "The file is missing.", FetchMissing, cause);

    private static string Compose(string file, string? tensor, string problem, string? remedy)
    {
        string place = tensor is null ? $"'{file}'" : $"'{file}', '{tensor}'";
        return $"{place}: {problem} {remedy ?? $"Delete this file and fetch it again; {ListedByVerify}"}";
    }
}
