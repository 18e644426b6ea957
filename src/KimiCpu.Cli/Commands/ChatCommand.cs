// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi chat</c>.</summary>
internal static class ChatCommand
{
    public const string Name = "chat";

    public static Command Make(CliStreams streams)
    {
        var model = new ModelOptions();
        var sampling = new SamplingOptions();
        var system = new Option<string?>("--system") { Description = "An instruction for the model.", HelpName = "TEXT" };
        var file = new Option<string?>("--session") { Description = "Go on with the conversation in this file, if it exists, and save it there at the end.", HelpName = "FILE" };
        var command = new Command(Name, "Talks with the model, a question a line. " + TerminalChat.Commands + " Ctrl-C stops an answer at a terminal, and ends the chat in a pipe.") { system, file };
        model.AddTo(command);
        sampling.AddTo(command);
        command.SetAction(async (parsed, _) =>
        {
            GenerationOptions options = sampling.Read(parsed);
            SamplingOptions.Check(options);
            KimiModelOptions how = model.Read(parsed);
            string? path = parsed.GetValue(file);
            if (path is not null)
            {
                ChatFile.Check(path);
            }

            SamplingOptions.CheckTokens(options, model.Files(parsed));
            using KimiModel opened = model.Open(parsed, how, streams);
            KimiSession session = ChatFile.Open(opened, path, streams, out IReadOnlyList<KimiMessage>? messages);
            using var cancellation = new CancellationSwitch();
            using var input = streams.Reader();
            using WholeLetters? letters = streams.EraseWholeLetters();
            using var chat = new TerminalChat(opened, session, options, parsed.GetValue(system), input, streams.Output, streams.Error, streams.IsTerminal, streams.UsesColours)
            {
                ColoursErrors = streams.UsesColoursInErrors,
                ShowsOnTerminal = streams.ShowsOnTerminal,
                ShowsProgress = streams.ShowsProgress,
                Columns = streams.Columns,
                LongestLine = streams.LongestLine,
                Translate = m => OptionWords.Translate(m, parsed),
            };
            if (messages is { Count: > 0 })
            {
                chat.GoOn(messages);
            }

            ChatSaver? saver = path is null ? null : new ChatSaver(path, chat, messages, cancellation, streams);

            // Also where nothing is saved: an answer that is not ended may leave the terminal dimmed.
            Action end = saver is null ? () => chat.End(ChatSaver.Patience) : saver.SaveAtSignal;
            cancellation.BeforeEnd = () => BeforeEnd(end);
            using var signals = new EndSignals(() => BeforeEnd(end));
            bool answered;
            try
            {
                answered = await chat.RunAsync(cancellation);
            }
            catch
            {
                BeforeEnd(() => saver?.Save());
                throw;
            }

            if (saver?.Save() == false)
            {
                return KimiCommand.Cancelled;
            }

            return answered ? KimiCommand.Ok : KimiCommand.Failed;

            void BeforeEnd(Action save)
            {
                try
                {
                    save();
                }
                catch (Exception e)
                {
                    // On the thread of a signal nobody else would catch it, and an error that ends the chat is told by itself.
                    streams.Error.WriteLine(VisibleText.Of(OptionWords.Translate(e.Message, parsed)));
                }
                finally
                {
                    // A signal disposes of nothing.
                    letters?.Dispose();
                }
            }
        });
        return command;
    }
}
