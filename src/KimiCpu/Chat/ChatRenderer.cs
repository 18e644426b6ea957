// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>What a rendering depends on besides the messages.</summary>
internal sealed record RenderOptions
{
    /// <summary>Declared before all messages.</summary>
    public IReadOnlyList<KimiTool> Tools { get; init; } = [];

    /// <summary>Whether the answer may begin with reasoning.</summary>
    public bool Thinking { get; init; } = true;

    /// <summary>Whether earlier reasoning is shown again.</summary>
    public bool PreserveThinking { get; init; }

    /// <summary>Whether the assistant's turn is opened at the end.</summary>
    public bool GenerationPrompt { get; init; } = true;
}

/// <summary>
/// A conversation as token ids. Control tokens are put in by id and texts are encoded without any, so that nothing that a
/// user or a tool writes can become one. Immutable.
/// </summary>
internal sealed class ChatRenderer
{
    private readonly KimiTokenizer _tokenizer;
    private readonly int _system;
    private readonly int _user;
    private readonly int _assistant;
    private readonly int _middle;
    private readonly int _end;

    /// <exception cref="NotSupportedException">The tokenizer has no chat tokens.</exception>
    public ChatRenderer(KimiTokenizer tokenizer, ChatFormat format)
    {
        _tokenizer = tokenizer;
        Format = format;
        Markers = new AnswerMarkers(tokenizer);
        _system = Required("<|im_system|>");
        _user = Required("<|im_user|>");
        _assistant = Required("<|im_assistant|>");
        _middle = Required("<|im_middle|>");
        _end = Required("<|im_end|>");
        if (format.MarksReasoning || format.OpensReasoning)
        {
            Required("<think>");
            Required("</think>");
        }
    }

    public ChatFormat Format { get; }

    /// <summary>The tokens that divide an answer.</summary>
    public AnswerMarkers Markers { get; }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="options">Tools, reasoning, and what the rendering ends with.</param>
    /// <param name="cancellationToken">Honoured within a text.</param>
    /// <exception cref="ArgumentException">Two tools have one name, calls are not the assistant's, or a tool's message answers no call.</exception>
    /// <exception cref="NotSupportedException">There are tools, but the tokenizer has no tokens for their calls.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public int[] Render(IReadOnlyList<KimiMessage> messages, RenderOptions options, CancellationToken cancellationToken = default)
    {
        var tokens = new PromptTokens(_tokenizer, cancellationToken);
        Declare(tokens, options.Tools);
        if (Format.DefaultSystemPrompt is { } prompt && messages is not [{ Role: KimiRole.System, HasOtherRole: false }, ..])
        {
            Turn(tokens, _system, "system", prompt);
        }

        var ids = new CallIds(Format.RewritesCallIds);
        int history = HistoryLength(messages, options);
        for (int i = 0; i < messages.Count; i++)
        {
            Append(tokens, messages[i], $"messages[{i}]", ids, showsReasoning: i >= history && ShowsReasoning(options));
        }

        if (options.GenerationPrompt)
        {
            Open(tokens, _assistant, "assistant");
            if (Format.OpensReasoning)
            {
                tokens.Add(Markers.Think);
                if (!options.Thinking && Format.CanSkipReasoning)
                {
                    tokens.Add(Markers.EndThink);
                }
            }
        }

        return tokens.ToArray();
    }

    /// <summary>Where the reasoning begins of an answer to a rendering with a generation prompt.</summary>
    public ReasoningStart StartOfReasoning(bool thinking) =>
        !Format.OpensReasoning ? ReasoningStart.ByModel
        : thinking || !Format.CanSkipReasoning ? ReasoningStart.Opened
        : ReasoningStart.None;

    private bool Preserves(RenderOptions options) =>
        Format.History == ReasoningHistory.Kept || (Format.History == ReasoningHistory.OnRequest && options.PreserveThinking);

    /// <summary>So many messages from the first one on are shown without reasoning: up to the last answer without calls.</summary>
    private int HistoryLength(IReadOnlyList<KimiMessage> messages, RenderOptions options)
    {
        int length = Preserves(options) ? 0 : messages.Count;
        while (length > 0 && !(messages[length - 1].Role == KimiRole.Assistant && messages[length - 1].ToolCalls.Count == 0))
        {
            length--;
        }

        return length;
    }

    /// <summary>Whether turns after the history show their reasoning.</summary>
    private bool ShowsReasoning(RenderOptions options) => options.Thinking || !Format.CanSkipReasoning || Preserves(options);

    private void Declare(PromptTokens tokens, IReadOnlyList<KimiTool> tools)
    {
        if (tools.Count == 0)
        {
            return;
        }

        if (tools.GroupBy(t => t.Name).FirstOrDefault(g => g.Count() > 1) is { } twice)
        {
            throw CallArgument.Options($"Two tools are called '{twice.Key}'.");
        }

        RequireCalls();
        Turn(tokens, _system, "tool_declare", ToolDeclarations.Write(tools, Format));
    }

    private void Append(PromptTokens tokens, KimiMessage message, string place, CallIds ids, bool showsReasoning)
    {
        if (message.Role != KimiRole.Assistant && message.ToolCalls.Count > 0)
        {
            throw CallArgument.Messages($"Only the assistant calls tools; {place} of role {message.Role} has calls.");
        }

        (int marker, string role) = message.Role switch
        {
            KimiRole.User => (_user, "user"),
            KimiRole.Assistant => (_assistant, "assistant"),
            KimiRole.Tool => (_system, "tool"),
            _ => (_system, "system"),
        };
        string name = message.Name is { Length: > 0 } own ? own : role;
        if (message.Role != KimiRole.Assistant)
        {
            Turn(tokens, marker, name, message.Role == KimiRole.Tool ? $"## Return of {ids.Answered(message, place)}\n{message.Content}" : message.Content);
            return;
        }

        Open(tokens, marker, name);
        var answer = new AnswerEncoder(_tokenizer, message.GeneratedTokens);
        if (Format.MarksReasoning)
        {
            tokens.Add(Markers.Think);
            answer.Encode(showsReasoning ? message.Reasoning ?? "" : "", tokens);
            tokens.Add(Markers.EndThink);
        }

        answer.Encode(message.Content, tokens);
        AppendCalls(tokens, message.ToolCalls, ids, answer);
        tokens.Add(_end);
    }

    private void AppendCalls(PromptTokens tokens, IReadOnlyList<KimiToolCall> calls, CallIds ids, AnswerEncoder answer)
    {
        if (calls.Count == 0)
        {
            return;
        }

        RequireCalls();
        ids.BeginTurn();
        tokens.Add(Markers.SectionBegin);
        foreach (KimiToolCall call in calls)
        {
            tokens.Add(Markers.CallBegin);
            answer.Encode(ids.Next(call), tokens);
            tokens.Add(Markers.ArgumentBegin);
            answer.Encode(call.Arguments, tokens);
            tokens.Add(Markers.CallEnd);
        }

        tokens.Add(Markers.SectionEnd);
    }

    private void Turn(PromptTokens tokens, int marker, string name, string text)
    {
        Open(tokens, marker, name);
        tokens.Encode(text);
        tokens.Add(_end);
    }

    private void Open(PromptTokens tokens, int marker, string name)
    {
        tokens.Add(marker);
        tokens.Encode(name);
        tokens.Add(_middle);
    }

    private void RequireCalls()
    {
        if (!Markers.HasCalls)
        {
            throw CallersMistake.Of(new NotSupportedException("The tokenizer has no control tokens for tool calls, so this checkpoint cannot use tools."));
        }
    }

    private int Required(string name) => _tokenizer.TryGetSpecialToken(name, out int id)
        ? id
        : throw CallersMistake.Of(new NotSupportedException($"The tokenizer has no control token '{name}', so this checkpoint cannot chat; generate from token ids instead."));
}
