// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>Where the reasoning of an answer begins.</summary>
internal enum ReasoningStart
{
    /// <summary>There is none; its tags are text.</summary>
    None,

    /// <summary>The prompt has opened it.</summary>
    Opened,

    /// <summary>It is there if the answer's first token opens it.</summary>
    ByModel,
}

/// <summary>How the tokens of an answer are to be read.</summary>
/// <param name="Markers">Divide the answer.</param>
/// <param name="Start">Where the reasoning begins.</param>
internal sealed record AnswerLayout(AnswerMarkers Markers, ReasoningStart Start)
{
    /// <summary>All tokens are content.</summary>
    public static AnswerLayout Plain { get; } = new(AnswerMarkers.None, ReasoningStart.None);

    /// <summary>Names of the declared tools; they resolve ids that a client has rewritten.</summary>
    public IReadOnlySet<string> ToolNames { get; init; } = new HashSet<string>();

    /// <summary>Index of the answer's first call, from which ids without one go on.</summary>
    public int FirstCallIndex { get; init; }
}

/// <summary>
/// Divides an answer into reasoning, content and tool calls, token by token. Only control tokens divide: text that spells one
/// stays text. It takes any sequence of tokens. Where they are not as trained:
/// <list type="bullet">
/// <item>Calls end a reasoning that was not closed. A call outside a section opens one; text between calls is dropped.</item>
/// <item>A call is ended by the next one, by the end of the section, or by the end of the answer if its arguments are JSON by then.</item>
/// <item>Ids and arguments are trimmed, empty arguments become <c>{}</c>. White space after a section is dropped unless text follows.</item>
/// <item>End markers in the content vanish; all other control tokens are text by their names.</item>
/// </list>
/// </summary>
internal sealed class AnswerParser
{
    private const int MaxJsonDepth = 1024;

    private readonly AnswerLayout _layout;
    private readonly AnswerMarkers _markers;
    private readonly TokenStreamDecoder _decoder;
    private readonly StringBuilder _id = new();
    private readonly StringBuilder _arguments = new();
    private readonly List<AnswerEvent> _events = [];
    private State _state;
    private string _blanks = "";
    private bool _afterSection;
    private int _calls;
    private KimiToolCall _call = new("", "", "");

    public AnswerParser(KimiTokenizer tokenizer, AnswerLayout layout)
    {
        _layout = layout;
        _markers = layout.Markers;
        _decoder = new TokenStreamDecoder(tokenizer);
        _state = layout.Start == ReasoningStart.None ? State.Content : State.Start;
    }

    private enum State
    {
        /// <summary>No token yet; a first &lt;think&gt; opens the reasoning or repeats that it is open.</summary>
        Start,
        Reasoning,
        Content,

        /// <summary>Among calls.</summary>
        Section,
        CallId,
        Arguments,
    }

    /// <summary>Whether the next text would be reasoning.</summary>
    public bool IsReasoning => _state == State.Reasoning || (_state == State.Start && _layout.Start == ReasoningStart.Opened);

    /// <summary>Whether the tokens so far end within a character.</summary>
    public bool IsInsideCharacter => _decoder.HasPending;

    /// <summary>Whether a token would end the call that the answer is in.</summary>
    public bool EndsCall(int token) =>
        (_state is State.CallId or State.Arguments) && token >= 0 && token != _markers.ArgumentBegin && Divides(token);

    /// <summary>Takes the next token.</summary>
    /// <param name="token">In 0 … vocabulary - 1.</param>
    /// <returns>What it brings about, in order; reused by the next call.</returns>
    public IReadOnlyList<AnswerEvent> Append(int token)
    {
        _events.Clear();
        if (_state == State.Start && token == _markers.Think)
        {
            _state = State.Reasoning;
            return _events;
        }

        Pass();
        if (!TryMarker(token))
        {
            Emit(_decoder.Append(token));
        }

        return _events;
    }

    /// <summary>Takes note of a token that shows nothing: none behind it is the first.</summary>
    public void Pass()
    {
        if (_state == State.Start)
        {
            _state = _layout.Start == ReasoningStart.Opened ? State.Reasoning : State.Content;
        }
    }

    /// <summary>Ends the answer.</summary>
    /// <param name="constrained">Whether the content is the beginning of an allowed text, of which what stands for half of a character is no part. Arguments are in any case.</param>
    /// <returns>What was held back, in order.</returns>
    public IReadOnlyList<AnswerEvent> Finish(bool constrained)
    {
        _events.Clear();
        bool insideCharacter = IsInsideCharacter;
        string rest = _decoder.Flush();
        if (_state != State.Arguments && !(constrained && _state == State.Content))
        {
            Emit(rest);
        }

        if (_state == State.Arguments)
        {
            EndCall(!insideCharacter && IsJson(_arguments.ToString()));
            _state = State.Section;
        }

        return _events;
    }

    /// <summary>Takes a token that divides in this state.</summary>
    private bool TryMarker(int token)
    {
        if (token < 0 || !Divides(token))
        {
            return false;
        }

        Emit(_decoder.Flush());
        if (_state == State.Arguments)
        {
            EndCall(isComplete: true);
        }
        else if (_state == State.CallId)
        {
            EndId(token);
        }

        _state = Next(token);
        return true;
    }

    private bool Divides(int token) => _state switch
    {
        State.Reasoning => token == _markers.EndThink || token == _markers.SectionBegin || token == _markers.CallBegin,
        State.Content => token == _markers.SectionBegin || token == _markers.CallBegin || token == _markers.SectionEnd || token == _markers.CallEnd,
        State.Section => token == _markers.CallBegin || token == _markers.SectionEnd,
        State.CallId => token == _markers.ArgumentBegin || token == _markers.CallEnd || token == _markers.CallBegin || token == _markers.SectionEnd,
        _ => token == _markers.CallEnd || token == _markers.CallBegin || token == _markers.SectionEnd,
    };

    /// <summary>The state after a marker.</summary>
    private State Next(int token)
    {
        if (_state == State.Content && (token == _markers.SectionEnd || token == _markers.CallEnd))
        {
            return State.Content;
        }

        _blanks = "";
        if (token == _markers.CallBegin)
        {
            _id.Clear();
            return State.CallId;
        }

        if (token == _markers.SectionEnd)
        {
            _afterSection = true;
            return State.Content;
        }

        return token == _markers.EndThink ? State.Content
            : token == _markers.ArgumentBegin ? State.Arguments
            : State.Section;
    }

    private void Emit(string text)
    {
        if (text.Length == 0)
        {
            return;
        }

        switch (_state)
        {
            case State.Start or State.Reasoning:
                _events.Add(new ReasoningText(text));
                break;
            case State.Content:
                EmitContent(text);
                break;
            case State.CallId:
                _id.Append(text);
                break;
            case State.Arguments:
                EmitArguments(text);
                break;
        }
    }

    private void EmitContent(string text)
    {
        if (_afterSection)
        {
            text = _blanks + text;
            if (string.IsNullOrWhiteSpace(text))
            {
                _blanks = text;
                return;
            }

            (_blanks, _afterSection) = ("", false);
        }

        _events.Add(new ContentText(text));
    }

    /// <summary>White space waits for what follows it, and is dropped at either end.</summary>
    private void EmitArguments(string text)
    {
        text = _blanks + text;
        string body = text.TrimEnd();
        _blanks = text[body.Length..];
        if (_arguments.Length == 0)
        {
            body = body.TrimStart();
        }

        if (body.Length > 0)
        {
            _arguments.Append(body);
            _events.Add(new CallEvent(new ToolCallArguments(_calls - 1, body)));
        }
    }

    /// <summary>A call begins once its id is there; one without arguments is over then, too.</summary>
    private void EndId(int token)
    {
        bool hasArguments = token == _markers.ArgumentBegin;
        string id = _id.ToString().Trim();
        if (!hasArguments && id.Length == 0)
        {
            return;
        }

        _call = Resolve(id);
        _arguments.Clear();
        _blanks = "";
        _events.Add(new CallEvent(new ToolCallBegun(_calls++, _call.Id, _call.Name)));
        if (!hasArguments)
        {
            EndCall(isComplete: true);
        }
    }

    private void EndCall(bool isComplete)
    {
        int index = _calls - 1;
        if (isComplete && _arguments.Length == 0)
        {
            _arguments.Append("{}");
            _events.Add(new CallEvent(new ToolCallArguments(index, "{}")));
        }

        _events.Add(new CallEvent(new ToolCallEnded(index, _call with { Arguments = _arguments.ToString() }, isComplete)));
    }

    /// <summary><c>(functions.)NAME:IDX</c> keeps its id; any other gets one by its place.</summary>
    private KimiToolCall Resolve(string id)
    {
        const string Prefix = "functions.";
        string name = id.StartsWith(Prefix, StringComparison.Ordinal) ? id[Prefix.Length..] : id;
        int colon = name.LastIndexOf(':');
        if (colon > 0 && IsIndex(name.AsSpan(colon + 1)))
        {
            return new KimiToolCall(id, name[..colon], "");
        }

        // Clients that allow no dots and colons make functions_NAME_IDX of it, and models repeat what they see.
        int line = id.LastIndexOf('_');
        if (id.StartsWith("functions_", StringComparison.Ordinal) && line > Prefix.Length && IsIndex(id.AsSpan(line + 1)) && _layout.ToolNames.Contains(id[Prefix.Length..line]))
        {
            return new KimiToolCall(id, id[Prefix.Length..line], "");
        }

        return new KimiToolCall(CallIds.Of(name, _layout.FirstCallIndex + _calls), name, "");
    }

    private static bool IsIndex(ReadOnlySpan<char> text) => text.Length > 0 && !text.ContainsAnyExceptInRange('0', '9');

    private static bool IsJson(string text)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = MaxJsonDepth });
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
