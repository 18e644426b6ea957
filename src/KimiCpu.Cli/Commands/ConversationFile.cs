// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Cli.Commands;

/// <summary>A conversation from a file that the command line names.</summary>
internal static class ConversationFile
{
    /// <param name="option">The option or argument that names the file.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="ArgumentException">It cannot be read, or is no conversation of texts.</exception>
    public static Conversation Read(string option, string path)
    {
        byte[] json = InputFile.ReadBytes(option, path);
        try
        {
            return ConversationJson.Read(json);
        }
        catch (Exception e) when (e is FormatException or NotSupportedException)
        {
            throw new ArgumentException($"{option}, '{path}': {e.Message}", e);
        }
    }
}
