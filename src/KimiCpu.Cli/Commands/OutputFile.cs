// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>Files that options name for writing: one that cannot be written is told with the option's name.</summary>
internal static class OutputFile
{
    private const string Dash = "-";
    private const string StandardOutput = "/dev/stdout";

    /// <summary>
    /// A dash is standard output, as with other tools, where that is a pipe or a device. A file there (<c>&gt;&gt; FILE</c>) would be replaced by a new one, and what it had, or what other
    /// programs write to it, be lost: the dash stays, and is refused.
    /// </summary>
    public static string PlaceOf(string path) => path == Dash && FileKind.IsFixed(StandardOutput) ? StandardOutput : path;

    /// <summary>Writes beside the file first, so that it is whole or as it was.</summary>
    /// <inheritdoc cref="Write{T}"/>
    public static void WriteText(string option, string path, string text) => Write(option, path, () =>
    {
        using var file = new UnfinishedFile(path);
        file.Stream.Write(Encoding.UTF8.GetBytes(text));
        file.Finish();
        return path;
    });

    /// <summary>Whether the file can be written should be known before what goes into it is worked out.</summary>
    /// <param name="option">The option that names the file.</param>
    /// <param name="path">The file.</param>
    /// <param name="ownersOnly">Whether nobody but the user may read it.</param>
    /// <exception cref="ArgumentException">It is a dash: whoever writes one means no file of that name.</exception>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static void CheckPlace(string option, string path, bool ownersOnly = false)
    {
        if (path == Dash)
        {
            throw new ArgumentException($"{option} takes a file here, and not '-' for standard output; './-' is a file of that name.");
        }

        Write(option, path, () =>
        {
            if (FileKind.IsFixed(path) && !ownersOnly)
            {
                return FileKind.MayWrite(path) ? path : throw new UnauthorizedAccessException();
            }

            // Writing goes on beside the file, so the folder must take a new one.
            using var probe = new UnfinishedFile(path, ownersOnly);
            return path;
        });
    }

    /// <summary>Where to say what has been written: beside the output, where that is what has been written to (<c>-o /dev/stdout | …</c>).</summary>
    public static TextWriter SummaryTo(string path, CliStreams streams) => FileKind.AreSame(path, StandardOutput) ? streams.Error : streams.Output;

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
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{option}: '{path}' could not be written{Because(e, path)}", e);
        }
    }

    /// <summary>The system's own messages would name the file that is written beside the one that was asked for.</summary>
    private static string Because(Exception e, string path)
    {
        string folder = Path.GetDirectoryName(UnfinishedFile.PlaceOf(path))!;
        return e switch
        {
            DirectoryNotFoundException => $", since there is no folder '{folder}'.",
            UnauthorizedAccessException when FileKind.IsFixed(path) => ", since this user may not write to it.",
            UnauthorizedAccessException => $", since this user may not write into '{folder}'.",
            FileNotFoundException => $", since '{folder}' takes no new files.",
            _ => $": {e.Message.Split(" : '")[0].TrimEnd('.')}.",
        };
    }
}
