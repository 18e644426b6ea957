// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tokens;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi render</c>.</summary>
internal static class RenderCommand
{
    public static Command Make(CliStreams streams)
    {
        string names = string.Join(", ", ChatFormat.ByName.Keys);
        var file = new Argument<string?>("CONVERSATION.json") { Description = "Messages and tools as OpenAI's interface writes them; standard input if left out.", Arity = ArgumentArity.ZeroOrOne };
        var model = new Option<string?>("--model", "-m") { Description = "Folder with the tokenizer and the chat template; weights are not read. Default: kimi-nano, embedded.", HelpName = "DIR" };
        ModelNames.Refuse(model);
        var template = new Option<string?>("--template") { Description = $"A known template in place of the folder's: {names}.", HelpName = "NAME" };
        template.AcceptOnlyFromAmong([.. ChatFormat.ByName.Keys]);
        var ids = new Option<bool>("--ids") { Description = "One line of token ids separated by blanks, instead of text." };
        var noThink = new Option<bool>("--no-think") { Description = "Switch reasoning off, where the template can." };
        var preserve = new Option<bool>("--preserve-thinking") { Description = "Show the reasoning of earlier answers, where the template can." };
        var noPrompt = new Option<bool>("--no-generation-prompt") { Description = "End with the last message; do not open the answer." };
        var command = new Command("render", "Shows what the model sees of a conversation, exactly.") { file, model, template, ids, noThink, preserve, noPrompt };
        command.SetAction(parsed =>
        {
            Conversation conversation = parsed.GetValue(file) is { } path ? ConversationFile.Read(file.Name, path, streams) : ConversationFile.Parse("standard input", streams.ReadBytes());
            CheckpointFiles files = parsed.GetValue(model) is { } folder ? new FolderCheckpointFiles(folder) : KimiModel.EmbeddedFiles;
            KimiTokenizer tokenizer = KimiTokenizer.Open(files);
            var renderer = new ChatRenderer(tokenizer, Format(parsed.GetValue(template), files, streams));
            int[] tokens = renderer.Render(conversation.Messages, new RenderOptions
            {
                Tools = conversation.Tools,
                Thinking = !parsed.GetValue(noThink) && conversation.Thinking != false,
                PreserveThinking = parsed.GetValue(preserve) || conversation.PreserveThinking == true,
                GenerationPrompt = !parsed.GetValue(noPrompt) && conversation.GenerationPrompt != false,
            });

            // In a pipe nothing may be added to the text.
            string end = parsed.GetValue(ids) || streams.ShowsOnTerminal ? "\n" : "";
            streams.Output.Write((parsed.GetValue(ids) ? string.Join(' ', tokens) : streams.Shown(tokenizer.Decode(tokens))) + end);
            return KimiCommand.Ok;
        });
        return command;
    }

    private static ChatFormat Format(string? name, CheckpointFiles files, CliStreams streams)
    {
        if (name is not null)
        {
            return ChatFormat.ByName[name];
        }

        (ChatFormat format, string? doubt) = ChatTemplate.Read(files);
        if (doubt is not null)
        {
            streams.Error.WriteLine(VisibleText.Of(doubt));
        }

        return format;
    }
}
