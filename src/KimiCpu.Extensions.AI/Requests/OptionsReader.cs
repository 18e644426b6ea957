// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Turns <see cref="ChatOptions"/> into <see cref="GenerationOptions"/>; what has no equivalent is refused by name, but for what others keep in <see cref="ChatOptions.AdditionalProperties"/>.
/// </summary>
/// <param name="modelName">The one model that <see cref="ChatOptions.ModelId"/> may name, as it is called now.</param>
internal sealed class OptionsReader(Func<string> modelName)
{
    private readonly FormatReader _formats = new();

    /// <summary>Reads all but the format, whose schema takes long to compile.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="options">Null for none.</param>
    /// <param name="client">Whom they are given to.</param>
    /// <exception cref="NotSupportedException">An option or a content has no equivalent.</exception>
    /// <exception cref="ArgumentException">Options contradict one another, or one is outside its range.</exception>
    public Request Read(IEnumerable<ChatMessage> messages, ChatOptions? options, IChatClient client)
    {
        options ??= new ChatOptions();
        RefuseUnsupported(options);
        if (options.MaxOutputTokens < 1)
        {
            // The model would name its own option, MaxTokens.
            throw RequestArgument.OutOfRange(nameof(options.MaxOutputTokens), options.MaxOutputTokens, "1 or more, or null");
        }

        GenerationOptions generation = Base(options, client);
        generation = generation with
        {
            Temperature = options.Temperature ?? generation.Temperature,
            TopK = options.TopK ?? generation.TopK,
            TopP = options.TopP ?? generation.TopP,
            FrequencyPenalty = options.FrequencyPenalty ?? generation.FrequencyPenalty,
            PresencePenalty = options.PresencePenalty ?? generation.PresencePenalty,
            MaxTokens = options.MaxOutputTokens ?? generation.MaxTokens,
            Seed = options.Seed is { } seed ? unchecked((ulong)seed) : generation.Seed,
            StopSequences = [.. generation.StopSequences, .. options.StopSequences ?? []],
        };
        generation = ReasoningReader.Read(options.Reasoning, generation);
        generation = ToolsReader.Read(options, generation);
        generation = AdditionalOptions.Read(options.AdditionalProperties, generation, out IReadOnlyList<string> skipped);
        ChatResponseFormat? format = FormatReader.Keep(options.ResponseFormat);
        generation = format is null ? generation : generation with { Constraint = null };
        Check(generation, format);
        bool showsReasoning = options.Reasoning?.Output is not ReasoningOutput.None;
        bool singleToolCall = options.AllowMultipleToolCalls == false && generation.Tools.Count > 0;
        return new Request(MessageReader.Read(messages, options.Instructions), generation, format, showsReasoning, singleToolCall) { SkippedKeys = skipped };
    }

    /// <summary>The whole options of a request for a model. Compiles on another thread than the caller's.</summary>
    /// <param name="request">Read.</param>
    /// <param name="model">Answers it.</param>
    /// <param name="cancellationToken">Ends the compilation of a schema.</param>
    /// <exception cref="Constraints.KimiConstraintException">The schema of the response format cannot be enforced.</exception>
    public Task<GenerationOptions> CompleteAsync(Request request, IKimiModel model, CancellationToken cancellationToken) =>
        _formats.ReadAsync(request.Format, request.For(model), cancellationToken);

    /// <summary>What no model takes is refused before one is opened. Only the model knows which token ids it has.</summary>
    private static void Check(GenerationOptions generation, ChatResponseFormat? format)
    {
        OptionChecks.Validate(generation, int.MaxValue);
        if (format is ChatResponseFormatJson && generation.IgnoreEndOfText)
        {
            throw RequestArgument.Options("An answer with a ChatOptions.ResponseFormat ends by an end-of-text token, so IgnoreEndOfText must be false with it.");
        }
    }

    private static GenerationOptions Base(ChatOptions options, IChatClient client) => options.RawRepresentationFactory?.Invoke(client) switch
    {
        // A tool is often somebody else's, and other clients take whatever schema it has.
        null => new GenerationOptions { AllowUnenforceableTools = true },
        GenerationOptions own => Whole(own),
        { } other => throw new NotSupportedException(
            $"ChatOptions.RawRepresentationFactory: expected {typeof(GenerationOptions)}, found {other.GetType()}. Return null for clients that the options are not meant for."),
    };

    /// <summary>What is added to lists of theirs needs the lists.</summary>
    private static GenerationOptions Whole(GenerationOptions own)
    {
        OptionChecks.RequireAll(own);
        return own;
    }

    private void RefuseUnsupported(ChatOptions options)
    {
        if (options.ConversationId is { } conversation)
        {
            throw new NotSupportedException(
                $"ChatOptions.ConversationId ('{conversation}'): the client keeps no conversations. Pass all messages with each call; what is cached of them is not computed again.");
        }

        if (options.ModelId is { } model && modelName() is var own && !string.Equals(model, own, StringComparison.OrdinalIgnoreCase))
        {
            throw new NotSupportedException($"ChatOptions.ModelId: this client has the model '{own}' only, '{model}' was asked for. Leave it null, or register another model under a key.");
        }

        if (options.AllowBackgroundResponses == true)
        {
            throw new NotSupportedException("ChatOptions.AllowBackgroundResponses: an answer lives as long as its call. Leave it null or false.");
        }

        if (options.ContinuationToken is not null)
        {
            throw new NotSupportedException("ChatOptions.ContinuationToken: an answer that was interrupted cannot be taken up again. Call again; what is cached of its prompt is not computed again.");
        }
    }
}
