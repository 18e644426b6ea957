// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>Files that options and arguments name for reading: one that cannot be read is a wrong option as any other, and is told with the option's name.</summary>
internal static class InputFile
{
    private const string StandardInput = "/dev/stdin";

    /// <inheritdoc cref="Read{T}"/>
    public static byte[] ReadBytes(string option, string path) => Read(option, path, File.ReadAllBytes);

    /// <inheritdoc cref="Read{T}"/>
    /// <exception cref="FormatException">It is not UTF-8.</exception>
    public static string ReadText(string option, string path) => Utf8Text.Of(ReadBytes(option, path), $"{option}, '{path}',");

    /// <param name="option">The option or argument that names the file.</param>
    /// <param name="path">The file.</param>
    /// <param name="read">Reads it.</param>
    /// <exception cref="ArgumentException">There is no such file, or it may not be read.</exception>
    /// <exception cref="IOException">Reading failed.</exception>
    public static T Read<T>(string option, string path, Func<string, T> read)
    {
        if (string.IsNullOrWhiteSpace(path))
        {
            throw new ArgumentException($"{option} takes a file; found '{path}'.");
        }

        if (Directory.Exists(path))
        {
            throw new ArgumentException($"{option} takes a file; '{path}' is a folder.");
        }

        if (path == "-" && File.Exists(StandardInput))
        {
            // As with other tools.
            path = StandardInput;
        }

        try
        {
            return read(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ArgumentException($"{option} takes a file; there is none at '{Path.GetFullPath(path)}'.", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new ArgumentException($"{option} takes a file that this user may read; '{path}' is none.", e);
        }
    }
}
