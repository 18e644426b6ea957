// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu;

/// <summary>A call that is checked and rendered; jobs are made of it, one for each time that its answer is wanted.</summary>
/// <param name="Prompt">Token ids.</param>
/// <param name="Options">Checked.</param>
/// <param name="Layout">How the answer is read.</param>
/// <param name="Tools">Which tool calls the answer may hold; null where they are not watched.</param>
internal sealed record PreparedCall(int[] Prompt, GenerationOptions Options, AnswerLayout Layout, ToolCallConstraint? Tools)
{
    /// <summary>What is done, in the words of OpenTelemetry's GenAI conventions.</summary>
    public string Operation => Layout == AnswerLayout.Plain ? CallTelemetry.Completion : CallTelemetry.Chat;

    /// <summary>What it took to get here.</summary>
    public TimeSpan Preparation { get; init; }
}

/// <summary>Turns messages or token ids and options into jobs of the engine. Safe to use from several threads.</summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="chat">Renders messages; read when the first ones come.</param>
/// <param name="endTokens">Ids that end an answer.</param>
/// <param name="vocabulary">Token ids run from 0 to this, exclusive.</param>
/// <param name="limit">Of a prompt and its answer, as it is now.</param>
/// <param name="warn">Told what is not done as declared.</param>
internal sealed class CallPreparation(KimiTokenizer tokenizer, Lazy<ChatRenderer> chat, IReadOnlySet<int> endTokens, int vocabulary, Func<ContextLimit> limit, Action<string> warn)
{
    private readonly ToolSchemas _toolSchemas = new();

    /// <param name="messages">In order.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    /// <param name="admit">Called after what is cheap to check, and before what takes much of a processor: those that run have more use for that than a call that is refused in the end.</param>
    public PreparedCall Prepare(IEnumerable<KimiMessage> messages, GenerationOptions? options, CancellationToken cancellationToken, Action? admit = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        options ??= new GenerationOptions();
        Check(options);
        admit?.Invoke();
        ChatRenderer renderer = chat.Value;
        KimiMessage[] conversation = [.. messages];
        int[] prompt = Render(conversation, options, cancellationToken);
        var layout = new AnswerLayout(renderer.Markers, renderer.StartOfReasoning(options.Thinking))
        {
            ToolNames = options.Tools.Select(t => t.Name).ToHashSet(),
            FirstCallIndex = NextCallIndex(conversation, renderer.Format),
        };
        return Check(prompt, options, layout, cancellationToken);
    }

    /// <summary>The prompt alone.</summary>
    public int[] Render(IReadOnlyList<KimiMessage> conversation, GenerationOptions options, CancellationToken cancellationToken)
    {
        ConversationChecks.Validate(conversation);
        OptionChecks.RequireAll(options);
        return chat.Value.Render(conversation, new RenderOptions
        {
            Tools = options.Tools,
            Thinking = options.Thinking,
            PreserveThinking = options.PreserveThinking,
        }, cancellationToken);
    }

    /// <param name="tokens">The prompt.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    /// <param name="admit">As for messages.</param>
    public PreparedCall Prepare(ReadOnlyMemory<int> tokens, GenerationOptions? options, CancellationToken cancellationToken, Action? admit = null)
    {
        if (tokens.Length == 0)
        {
            throw CallArgument.Tokens("A prompt has at least one token.");
        }

        foreach (int token in tokens.Span)
        {
            if (token < 0 || token >= vocabulary)
            {
                throw CallersMistake.Of(new ArgumentOutOfRangeException(nameof(tokens), token, $"{nameof(tokens)} takes token ids 0 … {vocabulary - 1}."));
            }
        }

        options ??= new GenerationOptions();
        Check(options);
        if (options.Tools.Count > 0)
        {
            throw CallArgument.Options("Tools are declared by the chat template, so they need messages; token ids are taken as they are.");
        }

        admit?.Invoke();
        return Check(tokens.ToArray(), options, AnswerLayout.Plain, cancellationToken);
    }

    /// <param name="call">Checked.</param>
    /// <param name="streamed">Whether updates are wanted, or only the result.</param>
    /// <param name="cancellationToken">Looked at before every step.</param>
    /// <param name="hasTime">Whether it may wait and run as long as it takes.</param>
    public GenerationJob MakeJob(PreparedCall call, bool streamed, CancellationToken cancellationToken, bool hasTime = false)
    {
        int maxTokens = call.Options.MaxTokens ?? Math.Max(1, limit().Tokens - call.Prompt.Length);
        var builder = new AnswerBuilder(tokenizer, call.Options, endTokens, call.Layout);
        return new GenerationJob(call.Prompt, maxTokens, call.Options, builder, streamed, ConstraintOf(call), cancellationToken) { HasTime = hasTime, Preparation = call.Preparation };
    }

    /// <summary>Refuses what the model does not take, before anything is done for it.</summary>
    /// <exception cref="ArgumentException">An option is outside its range, or two contradict one another.</exception>
    public void Check(GenerationOptions options)
    {
        OptionChecks.RequireAll(options);

        // The model may have more rows than the tokenizer has tokens; those are never answered.
        OptionChecks.Validate(options, tokenizer.VocabularySize);
    }

    private static int NextCallIndex(IEnumerable<KimiMessage> conversation, ChatFormat format)
    {
        var counter = new CallCounter(format.RewritesCallIds);
        foreach (KimiToolCall call in conversation.SelectMany(m => m.ToolCalls))
        {
            counter.Add(call);
        }

        return counter.Next;
    }

    private PreparedCall Check(int[] prompt, GenerationOptions options, AnswerLayout layout, CancellationToken cancellationToken)
    {
        options.PromptCounted?.Invoke(prompt.Length);
        ContextLimit room = limit();
        if (options is { TakesFewerTokens: true, MaxTokens: { } most } && prompt.Length < room.Tokens)
        {
            options = options with { MaxTokens = Math.Min(most, room.Tokens - prompt.Length) };
        }

        room.Check(prompt.Length, options.MaxTokens);
        var call = new PreparedCall(prompt, options, layout, ToolsOf(options, layout, cancellationToken));

        // What the tokenizer cannot enforce is refused now, not in the middle of an enumeration.
        _ = ConstraintOf(call);
        return call;
    }

    private ToolCallConstraint? ToolsOf(GenerationOptions options, AnswerLayout layout, CancellationToken cancellationToken)
    {
        // Where none is declared, a call can only be invented, and would stand in the place of what the answer is to be.
        bool mayInvent = options is { ConstrainToolArguments: false, Constraint: null };
        ToolChoice choice = options is { ToolChoice.Kind: ToolChoiceKind.Auto, Tools.Count: 0 } && !mayInvent ? ToolChoice.None : options.ToolChoice;
        bool watched = choice.Kind switch
        {
            // Calls that are free are followed too where the answer would have to obey something else.
            ToolChoiceKind.Auto => options.ConstrainToolArguments || (options.Constraint is not null && layout.Markers.HasCalls),
            ToolChoiceKind.None => layout.Markers.HasCalls,
            _ => true,
        };
        return watched
            ? new ToolCallConstraint(
                tokenizer,
                [.. options.Tools.Select(t => (t.Name, t.Parameters ?? default))],
                choice,
                layout.FirstCallIndex,
                options.ConstrainToolArguments,
                _toolSchemas,
                options.AllowUnenforceableTools ? warn : null,
                cancellationToken: cancellationToken)
            : null;
    }

    /// <summary>What the options demand of the answer; null where they leave the model free.</summary>
    private AnswerConstraint? ConstraintOf(PreparedCall call)
    {
        if (call.Options.Constraint is null && call.Tools is null)
        {
            return null;
        }

        AnswerMarkers markers = call.Layout.Markers;
        HashSet<int> end = [.. endTokens, .. call.Options.StopTokens.Where(tokenizer.IsSpecial)];
        var tokens = new AnswerTokens(end, markers.Think, markers.EndThink, call.Layout.Start == ReasoningStart.Opened, call.Layout.Start == ReasoningStart.ByModel, call.Options.IgnoreEndOfText);
        return new AnswerConstraint(tokenizer, tokens, call.Options.Constraint, call.Tools);
    }
}
