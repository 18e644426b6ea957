// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>
/// Saves a chat at its end: not where its file says the same already, since computing a long conversation anew may take hours, and not against a Ctrl-C. The end may come on
/// two threads at once, the chat's and that of a Ctrl-C at the prompt; whoever comes second finds it done.
/// </summary>
/// <param name="path">The file.</param>
/// <param name="chat">What is saved.</param>
/// <param name="saved">What the file has; null where there is none.</param>
/// <param name="cancellation">A Ctrl-C during the save stops it.</param>
/// <param name="streams">Where progress is shown.</param>
internal sealed class ChatSaver(string path, TerminalChat chat, IReadOnlyList<KimiMessage>? saved, CancellationSwitch cancellation, CliStreams streams)
{
    /// <summary>An answer stops between two steps of the model.</summary>
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(5);

    private readonly object _gate = new();
    private IReadOnlyList<KimiMessage>? _saved = saved;
    private bool _stopped;
    private volatile bool _saves;

    /// <returns>Whether the file has the conversation; it has not where a Ctrl-C stopped this save or an earlier one.</returns>
    /// <exception cref="IOException">It cannot be written.</exception>
    public bool Save()
    {
        lock (_gate)
        {
            KimiMessage[] messages = [.. chat.Messages];
            if (_stopped || (_saved is not null && _saved.SequenceEqual(messages)))
            {
                return !_stopped;
            }

            _saves = true;
            using CancellationTokenSource source = cancellation.Begin();
            try
            {
                ChatFile.Save(path, chat.Session, messages, streams, source.Token);
                _saved = messages;
            }
            catch (OperationCanceledException) when (source.IsCancellationRequested)
            {
                _stopped = true;
                streams.Error.WriteLine(_saved is null ? "The session was not saved." : $"The session was not saved; '{path}' is as it was.");
            }
            finally
            {
                cancellation.End();
                _saves = false;
            }

            return !_stopped;
        }
    }

    /// <summary>Saves where the system ends the program: an answer is stopped, of which the part stays that came, and a save that has begun comes to its end.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void SaveAtSignal()
    {
        chat.HasEnded = true;
        if (!_saves)
        {
            cancellation.TryStop();
        }

        while (cancellation.IsRunning && !_saves)
        {
            Thread.Sleep(s_pause);
        }

        Save();
    }
}
