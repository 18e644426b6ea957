// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Cli.Commands;

/// <summary>A conversation from a file that the command line names, or from standard input.</summary>
internal static class ConversationFile
{
    /// <param name="option">The option or argument that names the file.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="ArgumentException">It cannot be read, or is no conversation of texts.</exception>
    public static Conversation Read(string option, string path) => Parse($"{option}, '{path}'", InputFile.ReadBytes(option, path));

    /// <param name="place">Where it comes from.</param>
    /// <param name="json">The conversation.</param>
    /// <exception cref="ArgumentException">It is no conversation of texts.</exception>
    public static Conversation Parse(string place, byte[] json)
    {
        try
        {
            Conversation conversation = ConversationJson.Read(json);
            ConversationChecks.Validate(conversation.Messages);
            return conversation;
        }
        catch (Exception e) when (e is FormatException or NotSupportedException or ArgumentException)
        {
            throw new ArgumentException($"{place}: {e.Message}", e);
        }
    }
}
