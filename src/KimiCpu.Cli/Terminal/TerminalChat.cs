// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// A conversation in a terminal: answers stream, reasoning is set apart, Ctrl-C stops an answer and not the program.
/// Piped input is answered line by line without decoration. It needs nothing but the library's public face.
/// </summary>
internal sealed class TerminalChat : IDisposable
{
    private const string Help = "/reset begins anew, /think on|off switches reasoning, /exit leaves; Ctrl-C stops an answer.";

    private readonly IKimiModel _model;
    private readonly TextReader _input;
    private readonly TextWriter _output;
    private readonly TextWriter _error;
    private readonly bool _decorated;
    private readonly bool _coloured;
    private readonly List<KimiMessage> _messages = [];
    private string? _system;
    private int _earlier;
    private GenerationOptions _options;

    /// <param name="model">Answers.</param>
    /// <param name="session">Keeps the conversation's cache; disposed with the chat.</param>
    /// <param name="options">For every answer.</param>
    /// <param name="system">An instruction for the model; null for none.</param>
    /// <param name="input">Questions, a line each.</param>
    /// <param name="output">Answers.</param>
    /// <param name="error">Rates and notices.</param>
    /// <param name="decorated">Whether a person sits at a terminal: prompts are shown.</param>
    /// <param name="coloured">Whether the terminal shows dimmed text.</param>
    public TerminalChat(IKimiModel model, KimiSession session, GenerationOptions options, string? system, TextReader input, TextWriter output, TextWriter error, bool decorated, bool coloured)
    {
        _model = model;
        Session = session;
        _options = options;
        _system = system;
        _input = input;
        _output = output;
        _error = error;
        _decorated = decorated;
        _coloured = coloured;
        ShowsOnTerminal = decorated;
        ShowsProgress = decorated;
        Reset();
    }

    /// <summary>Whether a terminal shows the answers, also where questions come from a pipe: no control characters are written then.</summary>
    public bool ShowsOnTerminal { get; init; }

    /// <summary>Whether a terminal shows the errors, so that a line among them may move.</summary>
    public bool ShowsProgress { get; init; }

    /// <summary>Of that terminal, as wide as it is now; 0 where nobody knows.</summary>
    public Func<int> Columns { get; init; } = MovingLine.ColumnsOfConsole;

    /// <summary>Set where the program is being ended: no question is answered any more.</summary>
    public bool HasEnded
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    }

    /// <summary>Keeps the conversation's cache; another one from each /reset on.</summary>
    public KimiSession Session { get; private set; }

    /// <summary>The conversation so far.</summary>
    public IReadOnlyList<KimiMessage> Messages => _messages;

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

    /// <summary>Runs until the input ends, <c>/exit</c>, or Ctrl-C at the prompt.</summary>
    /// <param name="cancellation">Cancelled by a Ctrl-C; replaced for every answer.</param>
    /// <returns>Whether every question was answered, if only in part; at a terminal, where all is seen, always.</returns>
    public async Task<bool> RunAsync(CancellationSwitch cancellation)
    {
        bool answered = true;
        if (_decorated)
        {
            _error.WriteLine($"{_model.Info.Name}. {_model.Placement}");
            _error.WriteLine(Help);
            if (_earlier > 0)
            {
                _error.WriteLine($"The conversation of {_earlier} messages goes on; it has {Session.TokenCount} tokens.");
            }
        }

        while (true)
        {
            if (_decorated)
            {
                _output.Write("\n> ");
            }

            string? line = _input.ReadLine();
            if (line is null || HasEnded || line.Trim() == "/exit")
            {
                return answered || _decorated;
            }

            if (line.Trim().Length > 0 && !TryCommand(line.Trim()))
            {
                answered &= await AnswerAsync(line, cancellation);
            }
        }
    }

    private bool TryCommand(string line)
    {
        switch (line)
        {
            case "/reset":
                Reset();

                // The old one would keep its tokens, from others in the cache and for whoever reads its file.
                Session.Dispose();
                Session = _model.CreateSession();
                _error.WriteLine("The conversation begins anew.");
                return true;
            case "/think on" or "/think off":
                _options = _options with { Thinking = line.EndsWith("on", StringComparison.Ordinal) };
                _error.WriteLine($"Reasoning is {(_options.Thinking ? "on" : "off")}.");
                return true;
            case "/help":
                _error.WriteLine(Help);
                return true;
            default:
                if (line.StartsWith('/'))
                {
                    _error.WriteLine($"There is no command {line.Split(' ')[0]}. {Help}");
                    return true;
                }

                return false;
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
        _messages.Add(KimiMessage.User(question));
        var text = new StringBuilder();
        var thought = new StringBuilder();
        List<int> tokens = [];
        bool reasoning = false;
        GenerationResult? result = null;
        using CancellationTokenSource source = cancellation.Begin();
        var prompts = new PromptLine(ShowsProgress ? _error : TextWriter.Null, Columns);
        try
        {
            await foreach (GenerationUpdate update in Session.GenerateAsync(_messages, _options with { PromptProgress = prompts }, source.Token))
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
        }
        catch (ContextLengthException e)
        {
            EndLines(prompts, ref reasoning);
            _error.WriteLine($"{e.Message} /reset begins anew.");
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
                Keep(result is null && text.Length == 0 ? null : KimiMessage.Assistant(text.ToString(), thought.Length > 0 ? thought.ToString() : null) with { GeneratedTokens = tokens });
                cancellation.End();
            }
        }

        return result is not null || text.Length > 0;
    }

    /// <summary>The question stays with its answer, if only a part of one, and goes with none.</summary>
    private void Keep(KimiMessage? answer)
    {
        if (answer is not null)
        {
            _messages.Add(answer);
        }
        else
        {
            _messages.RemoveAt(_messages.Count - 1);
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
            _error.WriteLine(_coloured ? $"\u001b[2m{rate}\u001b[0m" : rate);
        }

        if (CutNotice.Of(result, _options, _model.Info.ContextLength) is { } notice)
        {
            _error.WriteLine(notice);
        }
    }
}
