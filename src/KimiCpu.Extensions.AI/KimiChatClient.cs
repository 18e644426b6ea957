// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Constraints;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Extensions.AI.Responses;
using KimiCpu.Generation;
using KimiCpu.Tokens;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI;

/// <summary>
/// A model as an <see cref="IChatClient"/>. Every member of <see cref="ChatOptions"/> is honoured, or refused with a
/// <see cref="NotSupportedException"/> that names it; none is ignored, only keys of <see cref="ChatOptions.AdditionalProperties"/> that are
/// no options are left to those whose they are. The client keeps no conversation: each call passes all of its messages, and what is cached of them is not computed again (<see cref="UsageDetails.CachedInputTokenCount"/>).
/// All members are safe to call from several threads at once; running calls share the model's steps. Calls keep nobody's thread, a user
/// interface's for one: messages and options are read at the call, and prompts are encoded and schemas compiled on other threads.
/// </summary>
public sealed class KimiChatClient : IChatClient
{
    /// <summary><see cref="ChatClientMetadata.ProviderName"/> of all clients.</summary>
    public const string ProviderName = "kimicpu";

    private readonly Func<string> _modelName;
    private readonly Func<CancellationToken, Task<IKimiModel>> _open;
    private readonly IDisposable? _owned;
    private readonly OptionsReader _options;

    /// <summary>Makes a client of an open model.</summary>
    /// <param name="model">Answers the calls.</param>
    /// <param name="ownsModel">Whether <see cref="Dispose"/> disposes the model too. By default it stays open.</param>
    public KimiChatClient(IKimiModel model, bool ownsModel = false)
        : this(NameOf(model), _ => Task.FromResult(model), ownsModel ? model : null)
    {
    }

    /// <param name="modelName">Known before the model is open, and until then that of the one which would be opened next.</param>
    /// <param name="open">Gives the model, which is opened first where it is not open.</param>
    /// <param name="owned">Disposed of with the client.</param>
    internal KimiChatClient(Func<string> modelName, Func<CancellationToken, Task<IKimiModel>> open, IDisposable? owned)
    {
        _modelName = modelName;
        _open = open;
        _owned = owned;
        _options = new OptionsReader(modelName);
    }

    /// <summary>Continues a conversation and returns the whole answer.</summary>
    /// <param name="messages">The conversation so far, in order; at least one message.</param>
    /// <param name="options">Null for the defaults of <see cref="GenerationOptions"/>.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends.</param>
    /// <returns>One assistant message; <see cref="ChatResponse.RawRepresentation"/> is the <see cref="GenerationResult"/>.</returns>
    /// <exception cref="NotSupportedException">An option or a content cannot be honoured, a call's arguments or its result cannot be written as JSON, or the checkpoint's tokenizer has not got the control tokens of a chat, or of calls where there are tools; the message names it.</exception>
    /// <exception cref="ArgumentException">There is no message, a call or a result is out of place, a value is outside its range, or tools contradict one another.</exception>
    /// <exception cref="KimiConstraintException">The schema of the response format cannot be enforced, or that of a tool's parameters where options do not allow such tools; the message says what to write instead.</exception>
    /// <exception cref="ContextLengthException">The prompt, or it and <see cref="ChatOptions.MaxOutputTokens"/> together, do not fit the model's context, or what open sessions leave of the cache.</exception>
    /// <exception cref="KimiBusyException">Too many calls run and wait, or this one has waited too long; see <see cref="KimiModelOptions.Scheduling"/>.</exception>
    /// <exception cref="TimeoutException">The call has taken longer than <see cref="SchedulingOptions.MaxCallTime"/>.</exception>
    /// <exception cref="Checkpoints.CheckpointException">Experts could not be read, from a drive or from a mapped file; of a client of <c>AddKimi</c> also that the model cannot be opened, since a file is missing, damaged, or of a model that is not supported.</exception>
    /// <exception cref="KimiException">The GPU failed, or a NaN or an infinity appeared among the logits; of a client of <c>AddKimi</c> also that the model does not fit into the memory available, or that the GPU asked for cannot be used.</exception>
    /// <exception cref="OptionsValidationException">Of a client of <c>AddKimi</c> whose model is not open: its options are not valid, a folder that is missing for one. What <c>configure</c> throws is told as it is.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        Request request = Read(messages, options);
        IKimiModel model = await _open(cancellationToken).ConfigureAwait(false);
        var response = new ResponseWriter(model.Info.Name, request.ShowsReasoning);
        await foreach (GenerationUpdate update in AnswerAsync(model, request, cancellationToken).ConfigureAwait(false))
        {
            if (update.Result is { } result)
            {
                return response.Whole(result);
            }
        }

        throw new InvalidOperationException("The answer ended without a result.");
    }

    /// <summary>
    /// Continues a conversation and returns the answer as it is generated: reasoning, text, and each tool call once it is
    /// whole. The last update has the usage and why the answer ended. All have one response id and one message id. What the
    /// messages and options themselves say is refused at the call, and by the enumeration what is found out later: that the
    /// prompt is too long, or that a schema cannot be enforced.
    /// </summary>
    /// <inheritdoc cref="GetResponseAsync"/>
    /// <returns>Updates; <see cref="ChatResponseUpdate.RawRepresentation"/> is the <see cref="GenerationUpdate"/>.</returns>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        StreamAsync(Read(messages, options), cancellationToken);

    /// <summary>
    /// Counts the tokens of a prompt without answering it, to keep a conversation below the context, for example: those that a call with the same messages and options tells as
    /// <see cref="UsageDetails.InputTokenCount"/>. Opens the model where it is not open yet. From a pipeline the client is had by <c>GetService</c>.
    /// </summary>
    /// <param name="messages">The conversation so far, in order; at least one message.</param>
    /// <param name="options">Those that shape the prompt matter: instructions, tools and reasoning. Null for the defaults.</param>
    /// <param name="cancellationToken">Ends the wait for the model, and the encoding.</param>
    /// <returns>How many tokens the model is given before it answers.</returns>
    /// <exception cref="NotSupportedException">An option or a content cannot be honoured, or the checkpoint's tokenizer has not got the control tokens of a chat; the message names it.</exception>
    /// <exception cref="ArgumentException">There is no message, a call or a result is out of place, a value is outside its range, or tools contradict one another.</exception>
    /// <exception cref="KimiException">Of a client of <c>AddKimi</c>: the model cannot be opened; a <see cref="Checkpoints.CheckpointException"/> where that is its files' fault.</exception>
    /// <exception cref="OptionsValidationException">Of a client of <c>AddKimi</c> whose model is not open: its options are not valid.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    public async Task<int> CountPromptTokensAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        Request request = Read(messages, options);
        IKimiModel model = await _open(cancellationToken).ConfigureAwait(false);
        return await Task.Run(() => model.EncodePrompt(request.Messages, request.For(model), cancellationToken).Length, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Gives what is behind the client: <see cref="IKimiModel"/> (opened now where it is not open yet), its
    /// <see cref="KimiModelInfo"/> and <see cref="KimiTokenizer"/>, <see cref="ChatClientMetadata"/>, or the client itself. There is no
    /// embedding generator: the models have no embeddings to offer.
    /// </summary>
    /// <param name="serviceType">What is asked for.</param>
    /// <param name="serviceKey">Null; nothing here has a key.</param>
    /// <returns>Null for anything else.</returns>
    /// <exception cref="OptionsValidationException">The model of <c>AddKimi</c> is to be opened, or its name is asked for, and its options are not valid.</exception>
    /// <exception cref="KimiException">The model of <c>AddKimi</c> cannot be opened; a <see cref="Checkpoints.CheckpointException"/> where that is its files' fault.</exception>
    /// <exception cref="ObjectDisposedException">The services are disposed, or were while the model was being opened.</exception>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? new ChatClientMetadata(ProviderName, providerUri: null, _modelName())
            : serviceType.IsInstanceOfType(this) ? this
            : serviceType == typeof(KimiTokenizer) ? Model().Tokenizer
            : serviceType == typeof(KimiModelInfo) ? Model().Info
            : typeof(IKimiModel).IsAssignableFrom(serviceType) && serviceType.IsInstanceOfType(Model()) ? Model()
            : null;
    }

    /// <summary>
    /// Disposes of the model where the client owns it, which ends running calls. Otherwise it does nothing: middleware
    /// disposes of the client within it, and other pipelines may go on with this one.
    /// </summary>
    public void Dispose() => _owned?.Dispose();

    private static Func<string> NameOf(IKimiModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        string name = model.Info.Name;
        return () => name;
    }

    private IKimiModel Model() => _open(CancellationToken.None).GetAwaiter().GetResult();

    private Request Read(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return _options.Read(messages, options, this);
    }

    private async IAsyncEnumerable<ChatResponseUpdate> StreamAsync(Request request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        IKimiModel model = await _open(cancellationToken).ConfigureAwait(false);
        var response = new ResponseWriter(model.Info.Name, request.ShowsReasoning);
        await foreach (GenerationUpdate update in AnswerAsync(model, request, cancellationToken).ConfigureAwait(false))
        {
            if (response.Piece(update) is { } piece)
            {
                yield return piece;
            }
        }
    }

    private async IAsyncEnumerable<GenerationUpdate> AnswerAsync(IKimiModel model, Request request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        IAsyncEnumerable<GenerationUpdate> updates = await BeginAsync(model, request, cancellationToken).ConfigureAwait(false);
        await foreach (GenerationUpdate update in updates.ConfigureAwait(false))
        {
            yield return update;
        }
    }

    /// <summary>Encodes the prompt and compiles schemas, which can take seconds, on other threads.</summary>
    private async Task<IAsyncEnumerable<GenerationUpdate>> BeginAsync(IKimiModel model, Request request, CancellationToken cancellationToken)
    {
        // A model that is full refuses a call before anybody compiles for it.
        if (model is KimiModel own)
        {
            RequestLog.Skipped(own.Logger, request.SkippedKeys);
            return await own.BeginAsync(request.Messages, request.For(model), () => _options.CompleteAsync(request, model, cancellationToken), cancellationToken).ConfigureAwait(false);
        }

        GenerationOptions options = await _options.CompleteAsync(request, model, cancellationToken).ConfigureAwait(false);
        return await Task.Run(() => model.GenerateAsync(request.Messages, options, cancellationToken), cancellationToken).ConfigureAwait(false);
    }
}
