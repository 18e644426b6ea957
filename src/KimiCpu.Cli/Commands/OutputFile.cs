// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Commands;

/// <summary>Files that options name for writing: one that cannot be written is told with the option's name.</summary>
internal static class OutputFile
{
    /// <summary>Writes beside the file first, so that it is whole or as it was.</summary>
    /// <inheritdoc cref="Write{T}"/>
    public static void WriteText(string option, string path, string text) => Write(option, path, () =>
    {
        string beside = path + ".unfinished";
        File.WriteAllText(beside, text);
        File.Move(beside, path, overwrite: true);
        return path;
    });

    /// <param name="option">The option that names the file.</param>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes it, or begins to.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static T Write<T>(string option, string path, Func<T> write)
    {
        if (Directory.Exists(path))
        {
            throw new IOException($"{option} takes a file; '{path}' is a folder.");
        }

        try
        {
            return write();
        }
        catch (DirectoryNotFoundException e)
        {
            throw new IOException($"{option}: '{path}' could not be written, since there is no folder '{Path.GetDirectoryName(Path.GetFullPath(path))}'.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{option}: '{path}' could not be written: {e.Message}", e);
        }
    }
}
