// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu;

/// <summary>
/// An open model. All members are safe to call from several threads at once; running calls share the model's steps.
/// <see cref="IDisposable.Dispose"/> during a call ends that call with an <see cref="ObjectDisposedException"/>.
/// </summary>
public interface IKimiModel : IDisposable
{
    /// <summary>What the model is: architecture, sizes, context length.</summary>
    KimiModelInfo Info { get; }

    /// <summary>What runs where now, with which instruction set and how many threads, in a sentence a log can show.</summary>
    string Placement { get; }

    /// <summary>The checkpoint's tokenizer.</summary>
    KimiTokenizer Tokenizer { get; }

    /// <summary>What the model is doing now: calls, cache pages and rates.</summary>
    KimiModelActivity Activity { get; }

    /// <summary>How often the routers have chosen each expert since the model was opened, prompts and answers together. Cheap, and waits for nothing.</summary>
    /// <returns>(layers, experts), a copy; the row of a dense layer is empty.</returns>
    long[][] CountExpertUses();

    /// <summary>
    /// Measures the memory's read bandwidth with the model's own threads, for <see cref="GenerationTimings.MemoryBandwidthShare"/>
    /// of the calls that end from then on. Takes some tenths of a second and, meanwhile, 256 MiB or eight times the CPU's
    /// last cache, but never more than a tenth of the available memory. Running calls go on: between their steps it takes two
    /// milliseconds or a tenth of a step's time, whichever is more, and is done the later. Each call of this method measures
    /// anew, but there is one measurement at a time: who asks during one gets its result. Without this method the bandwidth
    /// is measured once, in the idle time after the first call that decoded.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait. A measurement under way is finished all the same.</param>
    /// <returns>Bytes per second; null where there is too little memory to measure it.</returns>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger, and would wait for itself.</exception>
    double? MeasureMemoryBandwidth(CancellationToken cancellationToken = default);

    /// <summary>
    /// The token ids that <see cref="Generate(IEnumerable{KimiMessage}, GenerationOptions?, CancellationToken)"/> makes of a
    /// conversation, up to where the answer begins; to count them before a call, for example.
    /// </summary>
    /// <param name="messages">The conversation so far, in order; at least one message.</param>
    /// <param name="options">Those that shape the prompt matter: tools and thinking. Null for the defaults.</param>
    /// <param name="cancellationToken">Honoured within a text.</param>
    /// <exception cref="ArgumentException">There is no message, one is out of place, or an option is outside its range.</exception>
    /// <exception cref="NotSupportedException">The checkpoint's tokenizer has not got the control tokens of a chat, or of calls where tools are declared.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    int[] EncodePrompt(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>Answers one user message and returns when the answer is complete.</summary>
    /// <param name="prompt">Text of the user message; it can never become a control token.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends.</param>
    /// <exception cref="ArgumentException">There is no prompt, a message or token id is out of place, an option is outside its range, or two contradict one another.</exception>
    /// <exception cref="NotSupportedException">The checkpoint's tokenizer has not got the control tokens of a chat, or of calls where tools are declared: such a model continues token ids alone.</exception>
    /// <exception cref="Constraints.KimiConstraintException"><see cref="GenerationOptions.Constraint"/> or a tool's parameters cannot be enforced; the message says what to write instead.</exception>
    /// <exception cref="ContextLengthException">The prompt, or it and <see cref="GenerationOptions.MaxTokens"/> together, do not fit the model's context, or what open sessions leave of the cache.</exception>
    /// <exception cref="KimiBusyException">Too many calls run and wait, or this one has waited too long; see <see cref="KimiModelOptions.Scheduling"/>.</exception>
    /// <exception cref="TimeoutException">The call has taken longer than <see cref="SchedulingOptions.MaxCallTime"/>.</exception>
    /// <exception cref="Checkpoints.CheckpointException">Experts could not be read, from a drive or from a mapped file.</exception>
    /// <exception cref="KimiException">The GPU failed, or a NaN or an infinity appeared among the logits.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger, and would wait for itself.</exception>
    GenerationResult Generate(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>Continues a conversation and returns when the answer is complete.</summary>
    /// <param name="messages">The conversation so far, in order; at least one message.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends.</param>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>Continues token ids as they are, without the chat template.</summary>
    /// <param name="tokens">Prompt, at least one id, each in 0 … vocabulary - 1.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends.</param>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>
    /// The streaming form of <see cref="Generate(string, GenerationOptions?, CancellationToken)"/>. What is wrong with the prompt or the options, and that the
    /// model is full or its GPU lost when it is called, is thrown by this method; that it has become so since, and what happens to the call, by the enumeration.
    /// This method encodes the prompt and compiles schemas that are new, which can take seconds where they are long. On a user interface's thread call it by
    /// <see cref="Task.Run{TResult}(Func{TResult})"/>; <c>KimiChatClient</c> of KimiCpu.Extensions.AI does so itself.
    /// </summary>
    /// <param name="prompt">Text of the user message; it can never become a control token.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends. The prompt is encoded at the call: where it is cancelled by then, this method throws, and not the enumeration.</param>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    IAsyncEnumerable<GenerationUpdate> GenerateAsync(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>
    /// The streaming form of <see cref="Generate(IEnumerable{KimiMessage}, GenerationOptions?, CancellationToken)"/>. What is wrong with the prompt or the
    /// options, and that the model is full or its GPU lost when it is called, is thrown by this method; that it has become so since, and what happens to the
    /// call, by the enumeration. This method encodes the prompt and compiles schemas that are new, which can take seconds where they are long. On a user
    /// interface's thread call it by <see cref="Task.Run{TResult}(Func{TResult})"/>; <c>KimiChatClient</c> of KimiCpu.Extensions.AI does so itself.
    /// Each enumeration of what it returns is a call of its own, of the prompt that was encoded once.
    /// </summary>
    /// <param name="messages">The conversation so far, in order; at least one message.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends. The prompt is encoded at the call: where it is cancelled by then, this method throws, and not the enumeration.</param>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    IAsyncEnumerable<GenerationUpdate> GenerateAsync(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>
    /// The streaming form of <see cref="Generate(ReadOnlyMemory{int}, GenerationOptions?, CancellationToken)"/>. What is wrong with the prompt or the options,
    /// and that the model is full or its GPU lost when it is called, is thrown by this method; that it has become so since, and what happens to the call, by
    /// the enumeration. Each enumeration is a call of its own.
    /// </summary>
    /// <param name="tokens">Prompt, at least one id, each in 0 … vocabulary - 1.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Ends the call at once; the model lets go of its place and its pages when the running step ends.</param>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    IAsyncEnumerable<GenerationUpdate> GenerateAsync(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>Begins a session, which keeps the cache of a conversation.</summary>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    KimiSession CreateSession();

    /// <summary>
    /// Goes on with a session that <see cref="KimiSession.Save(string, IProgress{double}?, CancellationToken)"/> wrote. All that is used of the file is checked before. Where the model that saved it
    /// was open with other arithmetic or another format of the cache, only its tokens are read: the session's next call, or saving it, computes them again.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Ends the loading; nothing is left behind.</param>
    /// <exception cref="SessionFileException">The file is damaged, of a newer format, or of another model.</exception>
    /// <exception cref="IOException">The file does not exist or cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">Reading it is not allowed, or it is a folder.</exception>
    /// <exception cref="ContextLengthException">The cache has no room for it.</exception>
    /// <exception cref="KimiException">The GPU failed or was lost meanwhile. Load it again.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The checkpoint's files, by which models are told apart, could not be read.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger, and would wait for itself.</exception>
    KimiSession LoadSession(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default);

    /// <summary>Loads on another thread; see <see cref="LoadSession(string, IProgress{double}?, CancellationToken)"/>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Ends the loading; nothing is left behind.</param>
    /// <inheritdoc cref="LoadSession(string, IProgress{double}?, CancellationToken)" path="/exception"/>
    Task<KimiSession> LoadSessionAsync(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default);

    /// <summary>
    /// Goes on with a session from a stream, as <see cref="LoadSession(string, IProgress{double}?, CancellationToken)"/> does from a file, with the same checks. It is read from where it stands
    /// to its end, which has to be the session's end too; it need not seek, and stays open. Pages of the cache for all of the session are taken before it is read: give one that waits for
    /// somebody else, such as a request's body, a deadline, or read it into a file first.
    /// </summary>
    /// <param name="stream">What <see cref="KimiSession.Save(Stream, IProgress{double}?, CancellationToken)"/>, or a save to a file, wrote.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Ends the loading between two reads; nothing is left behind.</param>
    /// <exception cref="SessionFileException">What is in the stream is damaged, cut off or added to, of a newer format, or of another model.</exception>
    /// <exception cref="ArgumentException">The stream cannot be read.</exception>
    /// <exception cref="IOException">What the stream throws is passed on as it is.</exception>
    /// <exception cref="ContextLengthException">The cache has no room for it.</exception>
    /// <exception cref="KimiException">The GPU failed or was lost meanwhile. Load it again.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The checkpoint's files, by which models are told apart, could not be read.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger, and would wait for itself.</exception>
    KimiSession LoadSession(Stream stream, IProgress<double>? progress = null, CancellationToken cancellationToken = default);

    /// <summary>Loads from a stream on another thread, by the stream's asynchronous members alone; see <see cref="LoadSession(Stream, IProgress{double}?, CancellationToken)"/>.</summary>
    /// <param name="stream">What <see cref="KimiSession.Save(Stream, IProgress{double}?, CancellationToken)"/>, or a save to a file, wrote.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Ends the loading, a read too; nothing is left behind.</param>
    /// <inheritdoc cref="LoadSession(Stream, IProgress{double}?, CancellationToken)" path="/exception"/>
    Task<KimiSession> LoadSessionAsync(Stream stream, IProgress<double>? progress = null, CancellationToken cancellationToken = default);
}
