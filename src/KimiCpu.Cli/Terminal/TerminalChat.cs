// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// A conversation in a terminal: answers stream, reasoning is set apart, Ctrl-C stops an answer and not the program, nor does an answer that fails.
/// Piped input is answered question by question without decoration, and there both end the chat; only a question that is too long for the model does not. It needs nothing but the library's public face.
/// </summary>
internal sealed class TerminalChat : IDisposable
{
    /// <summary>What is no question, and how one is asked that looks like it.</summary>
    public const string Commands = "/reset begins anew, /think on|off switches reasoning, /exit leaves. A question that begins with a slash and a word takes another slash in front: //word. One of several lines, as of a text that is pasted in, stands between \"\"\" and \"\"\".";

    private const int MostShown = 40;

    /// <summary>A console of Windows has no key that ends the input for one line alone.</summary>
    private static readonly string s_help = Commands + (OperatingSystem.IsWindows() ? "" : " Ctrl-D at the beginning of a line gives a question of several up.") + " Ctrl-C stops an answer.";

    private readonly IKimiModel _model;
    private readonly TextReader _input;
    private readonly TextWriter _output;
    private readonly TextWriter _error;
    private readonly bool _decorated;
    private readonly bool _coloured;
    private readonly List<KimiMessage> _messages = [];

    /// <summary>Of what the thread of a signal looks at: the conversation, the answer that is running and the end.</summary>
    private readonly object _gate = new();
    private readonly int? _reasoningTokens;
    private string? _system;
    private int _earlier;
    private GenerationOptions _options;
    private CancellationTokenSource? _answer;
    private bool _isUntouched = true;
    private bool _isCut;
    private bool _hasToldEncoding;
    private bool _hasEnded;

    /// <param name="model">Answers.</param>
    /// <param name="session">Keeps the conversation's cache; disposed with the chat.</param>
    /// <param name="options">For every answer.</param>
    /// <param name="system">An instruction for the model; null for none.</param>
    /// <param name="input">Questions, a line each, and those of several lines between three quotes.</param>
    /// <param name="output">Answers.</param>
    /// <param name="error">Rates and notices.</param>
    /// <param name="decorated">Whether a person sits at a terminal: prompts are shown.</param>
    /// <param name="coloured">Whether the terminal shows dimmed text.</param>
    public TerminalChat(IKimiModel model, KimiSession session, GenerationOptions options, string? system, TextReader input, TextWriter output, TextWriter error, bool decorated, bool coloured)
    {
        _model = model;
        Session = session;
        _options = options;
        _reasoningTokens = options.MaxReasoningTokens is 0 ? null : options.MaxReasoningTokens;
        _system = system;
        _input = input;
        _output = output;
        _error = error;
        _decorated = decorated;
        _coloured = coloured;
        ColoursErrors = coloured;
        ShowsOnTerminal = decorated;
        ShowsProgress = decorated;
        Reset();
    }

    /// <summary>Whether a terminal shows dimmed text among the errors.</summary>
    public bool ColoursErrors { get; init; }

    /// <summary>Whether a terminal shows the answers, also where questions come from a pipe: no control characters are written then.</summary>
    public bool ShowsOnTerminal { get; init; }

    /// <summary>Whether a terminal shows the errors, so that a line among them may move.</summary>
    public bool ShowsProgress { get; init; }

    /// <summary>Of that terminal, as wide as it is now; 0 where nobody knows.</summary>
    public Func<int> Columns { get; init; } = MovingLine.ColumnsOfConsole;

    /// <summary>Bytes that the terminal keeps of a line that is typed.</summary>
    public int LongestLine { get; init; } = int.MaxValue;

    /// <summary>Says what the library says in the user's words, which know options and no properties.</summary>
    public Func<string, string> Translate { get; init; } = m => m;

    /// <summary>Whether the program is being ended: no question is answered any more.</summary>
    public bool HasEnded
    {
        get
        {
            lock (_gate)
            {
                return _hasEnded;
            }
        }
    }

    /// <summary>Whether no question has come into the conversation with its answer yet.</summary>
    public bool IsUntouched
    {
        get
        {
            lock (_gate)
            {
                return _isUntouched;
            }
        }
    }

    /// <summary>Keeps the conversation's cache; another one from each /reset on.</summary>
    public KimiSession Session { get; private set; }

    /// <summary>The conversation so far, as it is now; a question comes into it with its answer.</summary>
    public IReadOnlyList<KimiMessage> Messages
    {
        get
        {
            lock (_gate)
            {
                return [.. _messages];
            }
        }
    }

    /// <summary>Goes on with an earlier conversation.</summary>
    /// <param name="messages">With the instruction, if it had one.</param>
    /// <exception cref="ArgumentException">It had another instruction than this one has.</exception>
    public void GoOn(IReadOnlyList<KimiMessage> messages)
    {
        string? system = messages is [{ Role: KimiRole.System } first, ..] ? first.Content : null;
        if (_system is not null && _system != system)
        {
            throw new ArgumentException($"The conversation has {(system is null ? "no instruction" : $"the instruction '{system}'")}; leave --system out, or begin another session.");
        }

        (_system, _earlier) = (system, messages.Count);
        _messages.Clear();
        _messages.AddRange(messages);
    }

    public void Dispose() => Session.Dispose();

    /// <summary>Ends the chat from another thread: no question is answered any more, and an answer is stopped, of which the part stays that came.</summary>
    /// <param name="patience">How long to wait for the answer's end; it does not come where nobody reads the answers any more, or a drive hangs.</param>
    /// <returns>Whether no answer is running any more; from here on the conversation stays as it is then.</returns>
    public bool End(TimeSpan patience)
    {
        long start = Stopwatch.GetTimestamp();
        lock (_gate)
        {
            _hasEnded = true;

            // On another thread, since what the answer's end calls may wait for this one.
            _ = _answer?.CancelAsync();
            while (_answer is not null && patience - Stopwatch.GetElapsedTime(start) is { Ticks: > 0 } left)
            {
                Monitor.Wait(_gate, left);
            }

            return _answer is null;
        }
    }

    /// <summary>Runs until the input ends, <c>/exit</c>, or Ctrl-C at the prompt.</summary>
    /// <param name="cancellation">Cancelled by a Ctrl-C; replaced for every answer.</param>
    /// <returns>Whether every line was answered, if only in part, or a command; at a terminal, where all is seen, always. Not where <see cref="End"/> ended the chat.</returns>
    /// <exception cref="OperationCanceledException">Ctrl-C stopped an answer, in a pipe: nobody there looks at each.</exception>
    /// <exception cref="KimiException">An answer failed, in a pipe, and not because it was too long with its question: the next question is asked then.</exception>
    public async Task<bool> RunAsync(CancellationSwitch cancellation)
    {
        bool answered = true;
        if (_decorated)
        {
            _error.WriteLine($"{_model.Info.Name}. {_model.Placement}");
            _error.WriteLine(s_help);
            if (_earlier > 0)
            {
                _error.WriteLine($"The conversation of {_earlier} messages goes on; it has {Session.TokenCount} tokens.");
            }
        }

        while (true)
        {
            _isCut = false;
            string? line = ReadLine("\n> ");
            if (line is null || HasEnded || line.Trim() == "/exit")
            {
                // What was answered last may be a part, and who started the program would take it for the whole.
                return (answered || _decorated) && !HasEnded;
            }

            if (QuotedQuestion.Begins(line))
            {
                answered &= await AnswerQuotedAsync(line, cancellation);
            }
            else if (ChatLine.IsCommand(line))
            {
                answered &= TryCommand(line.Trim());
            }
            else if (line.Trim().Length > 0)
            {
                answered &= await AnswerAsync(ChatLine.Question(line), cancellation);
            }
        }
    }

    private string? ReadLine(string prompt)
    {
        if (_decorated)
        {
            _output.Write(prompt);
        }

        string? line = _input.ReadLine();
        _isCut |= line is not null && Encoding.UTF8.GetByteCount(line) >= LongestLine;
        if (!_hasToldEncoding && line?.Contains('\uFFFD', StringComparison.Ordinal) == true)
        {
            _hasToldEncoding = true;
            _error.WriteLine($"(U+FFFD is in this line, as where a text is not UTF-8. {Utf8Text.Remedy})");
        }

        bool isTyped = _decorated || LongestLine != int.MaxValue;
        return line is null || !isTyped ? line : TypedLine.WithoutKeys(line);
    }

    private async Task<bool> AnswerQuotedAsync(string first, CancellationSwitch cancellation)
    {
        string? question = QuotedQuestion.Read(first, () => ReadLine("... "));
        if (question is null)
        {
            _error.WriteLine("The input ended within a question, which was not asked: \"\"\" at the end of a line closes what \"\"\" at the beginning of one opens.");
            return false;
        }

        return string.IsNullOrWhiteSpace(question) || await AnswerAsync(question, cancellation);
    }

    /// <returns>Whether there is this command.</returns>
    private bool TryCommand(string line)
    {
        switch (line)
        {
            case "/reset":
                if (TryBeginAnew())
                {
                    _error.WriteLine("The conversation begins anew.");
                }

                return true;
            case "/think on" or "/think off":
                bool on = line.EndsWith("on", StringComparison.Ordinal);

                // Where the template cannot leave reasoning away it is closed where it begins.
                _options = _options with { Thinking = on, MaxReasoningTokens = on ? _reasoningTokens : 0 };
                _error.WriteLine($"Reasoning is {(_options.Thinking ? "on" : "off")}.");
                return true;
            case "/help":
                _error.WriteLine(s_help);
                return true;
            default:
                _error.WriteLine($"There is no command {VisibleText.Of(line.Length > MostShown ? $"{line.AsSpan(0, MostShown)}…" : line)}. {s_help}");
                return false;
        }
    }

    /// <summary>Not where the chat has ended: another thread may be saving it.</summary>
    private bool TryBeginAnew()
    {
        lock (_gate)
        {
            if (_hasEnded)
            {
                return false;
            }

            Reset();

            // The old one would keep its tokens, from others in the cache and for whoever reads its file.
            Session.Dispose();
            Session = _model.CreateSession();
            return true;
        }
    }

    private void Reset()
    {
        _messages.Clear();
        if (_system is not null)
        {
            _messages.Add(KimiMessage.System(_system));
        }
    }

    private async Task<bool> AnswerAsync(string question, CancellationSwitch cancellation)
    {
        if (_isCut)
        {
            _error.WriteLine(FormattableString.Invariant($"(not asked: the terminal keeps {LongestLine:N0} bytes of a line, and what was beyond them is lost; divide it into lines between \"\"\" and \"\"\")"));
            return false;
        }

        KimiMessage asked = KimiMessage.User(question);
        using CancellationTokenSource source = cancellation.Begin();
        if (!TryBeginAnswer(source))
        {
            cancellation.End();
            return false;
        }

        var text = new StringBuilder();
        var thought = new StringBuilder();
        List<int> tokens = [];
        bool reasoning = false;
        GenerationResult? result = null;
        var prompts = new PromptLine(ShowsProgress ? _error : TextWriter.Null, Columns);
        try
        {
            await foreach (GenerationUpdate update in Session.GenerateAsync([.. _messages, asked], _options with { PromptProgress = prompts }, source.Token))
            {
                prompts.End();
                tokens.AddRange(update.Tokens);
                thought.Append(update.Reasoning);
                ShowReasoning(update.Reasoning, ref reasoning);
                if (update.Text.Length > 0)
                {
                    EndReasoning(ref reasoning);
                    text.Append(update.Text);
                    _output.Write(ShowsOnTerminal ? VisibleText.Of(update.Text) : update.Text);
                    _output.Flush();
                }

                result = update.Result;
            }

            EndLines(prompts, ref reasoning);
            _output.WriteLine();
            foreach (KimiToolCall call in result!.ToolCalls)
            {
                _error.WriteLine($"(calls {VisibleText.Of(call.Name)}, which does not exist here, with {VisibleText.Of(call.Arguments)})");
            }

            ShowRate(result);
        }
        catch (OperationCanceledException) when (source.IsCancellationRequested)
        {
            EndLines(prompts, ref reasoning);
            _output.WriteLine();
            _error.WriteLine(text.Length > 0 ? "(stopped)" : "(stopped before an answer came; the question is forgotten)");
            if (!_decorated && !HasEnded)
            {
                throw;
            }
        }
        catch (ContextLengthException e)
        {
            EndLines(prompts, ref reasoning);
            _error.WriteLine($"{VisibleText.Of(Translate(e.Message))} /reset begins anew.");
        }
        catch (KimiException e) when (_decorated)
        {
            // A drive may answer the next time, and who sits there knows better than to lose the conversation.
            EndLines(prompts, ref reasoning);
            _output.WriteLine();
            _error.WriteLine(VisibleText.Of(Translate(e.Message)));
            _error.WriteLine(text.Length > 0 ? "(the answer ends here)" : "(no answer came; the question is forgotten)");
        }
        finally
        {
            // What fails otherwise is told by somebody else, in a line of its own and not dimmed.
            try
            {
                EndLines(prompts, ref reasoning);
            }
            finally
            {
                cancellation.End();
                EndAnswer(asked, result is null && text.Length == 0 ? null : KimiMessage.Assistant(text.ToString(), thought.Length > 0 ? thought.ToString() : null) with { GeneratedTokens = tokens });
            }
        }

        // Where the last of an answer waited for its reader, the key came too late for that answer, not for the chat.
        if (!_decorated && !HasEnded)
        {
            source.Token.ThrowIfCancellationRequested();
        }

        return result is not null || text.Length > 0;
    }

    private bool TryBeginAnswer(CancellationTokenSource source)
    {
        lock (_gate)
        {
            _answer = _hasEnded ? null : source;
            return !_hasEnded;
        }
    }

    /// <summary>The question stays with its answer, if only a part of one, and goes with none.</summary>
    private void EndAnswer(KimiMessage question, KimiMessage? answer)
    {
        lock (_gate)
        {
            if (answer is not null)
            {
                _messages.AddRange([question, answer]);
                _isUntouched = false;
            }

            _answer = null;
            Monitor.PulseAll(_gate);
        }
    }

    private void ShowReasoning(string text, ref bool reasoning)
    {
        // In a pipe only the answer is wanted.
        if (text.Length == 0 || !_decorated)
        {
            return;
        }

        if (!reasoning)
        {
            reasoning = true;
            _output.Write(_coloured ? "\u001b[2m" : "[thinks: ");
        }

        _output.Write(VisibleText.Of(text));
        _output.Flush();
    }

    private void EndLines(PromptLine prompts, ref bool reasoning)
    {
        prompts.End();
        EndReasoning(ref reasoning);
    }

    private void EndReasoning(ref bool reasoning)
    {
        if (reasoning)
        {
            reasoning = false;
            _output.WriteLine(_coloured ? "\u001b[0m" : "]");
        }
    }

    private void ShowRate(GenerationResult result)
    {
        if (_decorated)
        {
            string rate = RateLine.Of(result);
            _error.WriteLine(ColoursErrors ? $"\u001b[2m{rate}\u001b[0m" : rate);
        }

        if (CutNotice.Of(result, _options, _model.Info.ContextLength) is { } notice)
        {
            _error.WriteLine(notice);
        }
    }
}
