// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>
/// Saves a chat at its end: not where its file says the same already, since computing a long conversation anew may take hours, not where nothing was said for which there is no file yet
/// (another chat may have made it meanwhile), and not against a Ctrl-C. The end may come on two threads at once, the chat's and that of a signal; whoever comes second finds it done.
/// </summary>
/// <param name="path">The file.</param>
/// <param name="chat">What is saved.</param>
/// <param name="saved">What the file has; null where there is none.</param>
/// <param name="cancellation">A Ctrl-C during the save stops it.</param>
/// <param name="streams">Where progress is shown.</param>
internal sealed class ChatSaver(string path, TerminalChat chat, IReadOnlyList<KimiMessage>? saved, CancellationSwitch cancellation, CliStreams streams)
{
    /// <summary>An answer stops between two steps of the model. Of the ten seconds that Docker gives a program for its end, the save needs some.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>Where an answer does not stop, the model may have stopped for good, and a save beside it would wait for ever.</summary>
    private static readonly TimeSpan s_patienceBeside = TimeSpan.FromSeconds(30);

    private readonly object _gate = new();
    private IReadOnlyList<KimiMessage>? _saved = saved;
    private bool _stopped;

    /// <returns>Whether the file has the conversation; it has not where a Ctrl-C stopped this save or an earlier one.</returns>
    /// <exception cref="IOException">It cannot be written.</exception>
    public bool Save() => Save(Timeout.InfiniteTimeSpan);

    /// <summary>
    /// Saves where the system ends the program: an answer is stopped, of which the part stays that came, and a save that has begun comes to its end. An answer that does not
    /// stop is left out with its question, and the signal ends the program all the same.
    /// </summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void SaveAtSignal() => Save(chat.End(Patience) ? Timeout.InfiniteTimeSpan : s_patienceBeside);

    private bool Save(TimeSpan patience)
    {
        lock (_gate)
        {
            IReadOnlyList<KimiMessage> messages = chat.Messages;
            if (_stopped || (_saved is null ? chat.IsUntouched : _saved.SequenceEqual(messages)))
            {
                return !_stopped;
            }

            using CancellationTokenSource source = cancellation.Begin();
            source.CancelAfter(patience);
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
            }

            return !_stopped;
        }
    }
}
