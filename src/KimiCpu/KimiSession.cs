// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Sessions;

namespace KimiCpu;

/// <summary>
/// Keeps the cached tokens of a conversation. Every call of a model takes over what is cached of its prompt, but what no
/// session keeps is given up when the cache needs room. A session's tokens, those of its last call that ended or was
/// cancelled while it ran, prompt and answer, stay until the next one ends or it is disposed; only what that next call does not begin with goes before, where there is no other room for it. They can be branched, saved, and loaded by
/// a process to come. A session knows tokens, not messages: each call passes its whole conversation, and only what differs
/// from the cached text on is computed. So no call takes a single text, as those of <see cref="IKimiModel"/> do: add it to the messages as <see cref="KimiMessage.User"/>,
/// and the answer as <see cref="GenerationResult.ToMessage"/>. Where the cache is lost with a GPU a session still knows its tokens; with <see cref="KimiDevice.Auto"/> they are
/// computed again, on the CPU, by its next call or when it is saved, and where no device takes the GPU's place, by the model that loads what was saved. All members are safe to call from several threads at once; of calls at the same
/// time the last one that ends is kept.
/// </summary>
public sealed class KimiSession : IDisposable
{
    private readonly KimiModel _model;
    private readonly SessionState _state;
    private byte[] _applicationData = [];

    internal KimiSession(KimiModel model, SessionState state, byte[]? applicationData = null)
    {
        _model = model;
        _state = state;
        _applicationData = applicationData ?? [];
    }

    /// <summary>Tokens that the session keeps, the answer's included; its last token is not, since nothing has been computed from it.</summary>
    public int TokenCount => _state.Length;

    /// <summary>
    /// Bytes of the application that are saved and loaded with the session, such as the messages of its conversation. Empty
    /// by default; at most 256 MiB.
    /// </summary>
    public ReadOnlyMemory<byte> ApplicationData
    {
        get => Volatile.Read(ref _applicationData);
        set
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value.Length, SessionFormat.MaxApplicationBytes, nameof(value));
            Volatile.Write(ref _applicationData, value.ToArray());
        }
    }

    /// <summary>Continues a conversation and returns when the answer is complete.</summary>
    /// <param name="messages">The whole conversation so far, in order; at least one message.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Honoured when the running step ends, which may be one of other calls too; the session keeps what was computed, or what it had before where the call was waiting for pages of the cache: only the beginning that both share where it needed the room of the rest.</param>
    /// <inheritdoc cref="IKimiModel.Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    public GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        _state.ThrowIfDisposed();
        return _model.Generate(messages, options, _state, cancellationToken);
    }

    /// <summary>Continues token ids as they are, without the chat template.</summary>
    /// <param name="tokens">The whole prompt, at least one id, each in 0 … vocabulary - 1.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Honoured when the running step ends, which may be one of other calls too; the session keeps what was computed, or what it had before where the call was waiting for pages of the cache: only the beginning that both share where it needed the room of the rest.</param>
    /// <inheritdoc cref="IKimiModel.Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    public GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        _state.ThrowIfDisposed();
        return _model.Generate(tokens, options, _state, cancellationToken);
    }

    /// <summary>
    /// The streaming form of <see cref="Generate(IEnumerable{KimiMessage}, GenerationOptions?, CancellationToken)"/>. Leaving the loop early is as good as a
    /// cancellation: the session has what was computed when the enumeration is disposed of, which waits for the running step. The prompt is encoded and
    /// schemas are compiled on the caller's thread, and what goes wrong is thrown where it is by <see cref="IKimiModel.GenerateAsync(IEnumerable{KimiMessage}, GenerationOptions?, CancellationToken)"/>.
    /// </summary>
    /// <param name="messages">The whole conversation so far, in order; at least one message.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Honoured when the running step ends, which may be one of other calls too. The prompt is encoded at the call: where it is cancelled by then, this method throws, and not the enumeration.</param>
    /// <inheritdoc cref="IKimiModel.Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        _state.ThrowIfDisposed();
        return _model.GenerateAsync(messages, options, _state, cancellationToken);
    }

    /// <summary>
    /// The streaming form of <see cref="Generate(ReadOnlyMemory{int}, GenerationOptions?, CancellationToken)"/>. Leaving the loop early is as good as a
    /// cancellation: the session has what was computed when the enumeration is disposed of, which waits for the running step. What goes wrong is thrown where
    /// it is by <see cref="IKimiModel.GenerateAsync(ReadOnlyMemory{int}, GenerationOptions?, CancellationToken)"/>.
    /// </summary>
    /// <param name="tokens">The whole prompt, at least one id, each in 0 … vocabulary - 1.</param>
    /// <param name="options">Sampling, limits and stops; null for the defaults.</param>
    /// <param name="cancellationToken">Honoured when the running step ends, which may be one of other calls too.</param>
    /// <inheritdoc cref="IKimiModel.Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        _state.ThrowIfDisposed();
        return _model.GenerateAsync(tokens, options, _state, cancellationToken);
    }

    /// <summary>
    /// A session of its own that keeps the same tokens and application data. Returns at once and copies nothing: pages are
    /// shared, and where the two conversations part, at most one is copied.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The session is disposed.</exception>
    public KimiSession Branch() => new(_model, _state.Branch(), Volatile.Read(ref _applicationData));

    /// <summary>
    /// Writes the session's tokens, their cache and the application's data to a file: beside its place first, then moved
    /// there. It takes <see cref="KimiModelInfo.CacheBytesPerToken"/> for each token. Running calls go on meanwhile. Where
    /// the cache was lost with a GPU, or not read since it was computed otherwise, it is computed again first, as a call of the model that may take as long as it takes, and that is most of the progress then.
    /// Where the model can run no call any more, since it is open for a GPU alone that was lost, the file has the tokens and the application's data only, and the model that loads it computes the cache. The file holds the conversation in the clear; on Unix only its owner may read it.
    /// </summary>
    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Nothing is left behind when it is cancelled.</param>
    /// <exception cref="IOException">The file cannot be written; what was there before is untouched.</exception>
    /// <exception cref="UnauthorizedAccessException">Writing there is not allowed; what was there before is untouched.</exception>
    /// <exception cref="KimiException">The GPU whose memory holds the cache failed or was lost meanwhile, or the cache has to be computed and could not be; what was there before is untouched. Save it again.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The checkpoint's files, by which models are told apart, or experts for a cache that has to be computed, could not be read; what was there before is untouched.</exception>
    /// <exception cref="KimiBusyException">The cache has to be computed, and as many calls run and wait as <see cref="SchedulingOptions"/> allows.</exception>
    /// <exception cref="ContextLengthException">The cache has to be computed, and open sessions leave no room for it.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The session or the model is disposed.</exception>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger, and would wait for itself.</exception>
    public void Save(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        _state.ThrowIfDisposed();
        _model.Sessions(cancellationToken).Save(new SessionPlace(path), _state, ApplicationData, progress, cancellationToken);
    }

    /// <summary>Saves on another thread; see <see cref="Save(string, IProgress{double}?, CancellationToken)"/>. What the session keeps when the task begins is saved.</summary>
    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Nothing is left behind when it is cancelled.</param>
    /// <inheritdoc cref="Save(string, IProgress{double}?, CancellationToken)" path="/exception"/>
    public Task SaveAsync(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return Task.Run(() => Save(path, progress, cancellationToken), cancellationToken);
    }

    /// <summary>
    /// Writes to a stream of the application's what <see cref="Save(string, IProgress{double}?, CancellationToken)"/> writes to a file, from where it stands and strictly
    /// forwards; it need not seek, and stays open. A save that fails or is cancelled leaves what is written by then, which loading refuses as cut off.
    /// </summary>
    /// <param name="stream">Is written to, and flushed at the end.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Honoured between two writes.</param>
    /// <exception cref="ArgumentException">The stream cannot be written to, or goes on behind where it stands.</exception>
    /// <exception cref="IOException">What the stream throws is passed on as it is.</exception>
    /// <exception cref="KimiException">The GPU whose memory holds the cache failed or was lost meanwhile, or the cache has to be computed and could not be. Save it again, to a new stream.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The checkpoint's files, by which models are told apart, or experts for a cache that has to be computed, could not be read.</exception>
    /// <exception cref="KimiBusyException">The cache has to be computed, and as many calls run and wait as <see cref="SchedulingOptions"/> allows.</exception>
    /// <exception cref="ContextLengthException">The cache has to be computed, and open sessions leave no room for it.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The session or the model is disposed.</exception>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger, and would wait for itself.</exception>
    public void Save(Stream stream, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        RequireWritable(stream);
        _state.ThrowIfDisposed();
        _model.Sessions(cancellationToken).Save(new SessionPlace(stream), _state, ApplicationData, progress, cancellationToken);
    }

    /// <summary>
    /// Saves to a stream on another thread, by the stream's asynchronous members alone; see <see cref="Save(Stream, IProgress{double}?, CancellationToken)"/>. What the session keeps
    /// when the task begins is saved.
    /// </summary>
    /// <param name="stream">Is written to, and flushed at the end.</param>
    /// <param name="progress">Told the part that is done, 0 … 1; may be called from any thread. Must not wait for a call of this model: the call may wait for pages until the session has passed.</param>
    /// <param name="cancellationToken">Ends a write, too.</param>
    /// <inheritdoc cref="Save(Stream, IProgress{double}?, CancellationToken)" path="/exception"/>
    public Task SaveAsync(Stream stream, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        RequireWritable(stream);
        return Task.Run(() => Save(new AwaitedStream(stream, cancellationToken), progress, cancellationToken), cancellationToken);
    }

    /// <summary>Gives up the tokens: they stay cached like those of any call, until the cache needs room. Running calls of the session go on.</summary>
    public void Dispose() => _state.Dispose();

    private static void RequireWritable(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        if (!stream.CanWrite)
        {
            throw new ArgumentException("A session is saved to a stream that can be written to; this one cannot, or is closed.", nameof(stream));
        }

        if (stream.CanSeek && stream.Length > stream.Position)
        {
            throw new ArgumentException(
                FormattableString.Invariant($"Behind position {stream.Position:N0}, where the session would begin, the stream has {stream.Length - stream.Position:N0} bytes already, and what was left of them could not be told from the session. Cut it first: SetLength(Position)."),
                nameof(stream));
        }
    }
}
