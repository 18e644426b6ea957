// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;
using KimiCpu.Constraints;

namespace KimiCpu.Cli.Commands;

/// <summary>A conversation from a file that the command line names, or from standard input.</summary>
internal static class ConversationFile
{
    /// <param name="option">The option or argument that names the file.</param>
    /// <param name="path">The file.</param>
    /// <param name="streams">Has standard input.</param>
    /// <exception cref="ArgumentException">It cannot be read, or is no conversation of texts.</exception>
    public static Conversation Read(string option, string path, CliStreams streams) => Parse($"{option}, '{path}'", InputFile.ReadBytes(option, path, streams));

    /// <summary>Calls will be held to the tools' declarations. What cannot be is known before there is a model, whose opening may take an hour.</summary>
    /// <param name="option">See <see cref="Read"/>.</param>
    /// <param name="path">See <see cref="Read"/>.</param>
    /// <param name="tools">Of the conversation.</param>
    /// <param name="cancellationToken">Ends the compilation.</param>
    /// <exception cref="ArgumentException">The parameters of a tool cannot be enforced, or two have the same name.</exception>
    public static void CheckTools(string option, string path, IReadOnlyList<KimiTool> tools, CancellationToken cancellationToken)
    {
        var schemas = new ToolSchemas();
        var budget = new CallBudget(cancellationToken);
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (KimiTool tool in tools)
        {
            if (!names.Add(tool.Name))
            {
                throw new ArgumentException($"{option}, '{path}': Two tools are called '{Excerpt.Of(tool.Name)}'.");
            }

            try
            {
                _ = schemas.Get(tool.Parameters ?? default, budget);
            }
            catch (KimiConstraintException e)
            {
                throw new ArgumentException($"{option}, '{path}': The parameters of the tool '{Excerpt.Of(tool.Name)}' cannot be enforced. {e.Message}", e);
            }
        }
    }

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
