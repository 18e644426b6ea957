// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>
/// A conversation as token ids. Control tokens are put in by id and texts are encoded without any, so that nothing a user
/// writes can become one.
/// </summary>
internal sealed class ChatRenderer
{
    private readonly KimiTokenizer _tokenizer;
    private readonly int _system;
    private readonly int _user;
    private readonly int _assistant;
    private readonly int _middle;
    private readonly int _end;

    /// <exception cref="KimiException">The tokenizer has no chat tokens.</exception>
    public ChatRenderer(KimiTokenizer tokenizer, ChatFormat format)
    {
        _tokenizer = tokenizer;
        Format = format;
        _system = Required("<|im_system|>");
        _user = Required("<|im_user|>");
        _assistant = Required("<|im_assistant|>");
        _middle = Required("<|im_middle|>");
        _end = Required("<|im_end|>");
        bool marks = format.MarksReasoning || format.OpensReasoning;
        ThinkToken = marks ? Required("<think>") : Optional("<think>");
        EndThinkToken = marks ? Required("</think>") : Optional("</think>");
    }

    public ChatFormat Format { get; }

    /// <summary>Opens the reasoning; -1 where the tokenizer has none.</summary>
    public int ThinkToken { get; }

    /// <summary>Ends the reasoning; -1 where the tokenizer has none.</summary>
    public int EndThinkToken { get; }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="thinking">Whether the answer may begin with reasoning.</param>
    /// <param name="generationPrompt">Whether the assistant's turn is opened at the end.</param>
    public int[] Render(IEnumerable<KimiMessage> messages, bool thinking, bool generationPrompt = true)
    {
        var tokens = new List<int>();
        bool first = true;
        foreach (KimiMessage message in messages)
        {
            if (first && message.Role != KimiRole.System && Format.DefaultSystemPrompt is { } prompt)
            {
                Append(tokens, KimiMessage.System(prompt));
            }

            first = false;
            Append(tokens, message);
        }

        if (generationPrompt)
        {
            Open(tokens, _assistant, "assistant");
            if (Format.OpensReasoning)
            {
                tokens.Add(ThinkToken);
                if (!thinking)
                {
                    tokens.Add(EndThinkToken);
                }
            }
        }

        return [.. tokens];
    }

    /// <summary>
    /// One turn. An earlier answer is always history here (only a tool exchange in progress is not), and history is shown
    /// without its reasoning.
    /// </summary>
    private void Append(List<int> tokens, KimiMessage message)
    {
        (int marker, string role) = message.Role switch
        {
            KimiRole.User => (_user, "user"),
            KimiRole.Assistant => (_assistant, "assistant"),
            _ => (_system, "system"),
        };
        Open(tokens, marker, message.Name is { Length: > 0 } name ? name : role);
        if (message.Role == KimiRole.Assistant && Format.MarksReasoning)
        {
            tokens.Add(ThinkToken);
            tokens.Add(EndThinkToken);
        }

        tokens.AddRange(_tokenizer.Encode(message.Content));
        tokens.Add(_end);
    }

    private void Open(List<int> tokens, int marker, string name)
    {
        tokens.Add(marker);
        tokens.AddRange(_tokenizer.Encode(name));
        tokens.Add(_middle);
    }

    private int Optional(string name) => _tokenizer.TryGetSpecialToken(name, out int id) ? id : -1;

    private int Required(string name) => _tokenizer.TryGetSpecialToken(name, out int id)
        ? id
        : throw new KimiException($"The tokenizer has no control token '{name}', so this checkpoint cannot chat; generate from token ids instead.");
}
