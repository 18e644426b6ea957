// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>Files that options and arguments name for reading: one that cannot be read is a wrong option as any other, and is told with the option's name.</summary>
internal static class InputFile
{
    /// <inheritdoc cref="Read{T}"/>
    public static byte[] ReadBytes(string option, string path, CliStreams streams) => Read(option, path, streams, File.ReadAllBytes, bytes => bytes);

    /// <inheritdoc cref="Read{T}"/>
    /// <exception cref="FormatException">It is not UTF-8.</exception>
    public static string ReadText(string option, string path, CliStreams streams) => Utf8Text.Of(ReadBytes(option, path, streams), $"{option}, '{path}',");

    /// <param name="option">The option or argument that names the file.</param>
    /// <param name="path">The file; a dash for standard input, as with other tools.</param>
    /// <param name="streams">Has the input.</param>
    /// <param name="read">Reads a file.</param>
    /// <param name="take">Makes the same of what came from standard input.</param>
    /// <exception cref="ArgumentException">There is no such file, it may not be read, or another option has taken standard input.</exception>
    /// <exception cref="IOException">Reading failed.</exception>
    public static T Read<T>(string option, string path, CliStreams streams, Func<string, T> read, Func<byte[], T> take)
    {
        if (IsStandardInput(path))
        {
            return take(streams.TakeBytes(option));
        }

        if (string.IsNullOrWhiteSpace(path))
        {
            throw new ArgumentException($"{option} takes a file; found '{path}'.");
        }

        if (Directory.Exists(path))
        {
            throw new ArgumentException($"{option} takes a file; '{path}' is a folder.");
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

    /// <summary>Opened by its name it would begin anew where it is a file, and a socket (what programs of Node have there) or another user's pipe cannot be opened.</summary>
    private static bool IsStandardInput(string path) => path == "-" || (path == "/dev/stdin" && !OperatingSystem.IsWindows());
}
