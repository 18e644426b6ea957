// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Threading.Channels;
using KimiCpu.Constraints;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>
/// One call on its way through the engine. The caller's thread makes it and reads its outcome; everything else belongs to
/// the engine's thread from submission on.
/// </summary>
internal sealed class GenerationJob
{
    private readonly Channel<GenerationUpdate>? _updates;
    private readonly TaskCompletionSource<GenerationResult> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _submitted = Stopwatch.GetTimestamp();
    private readonly int[] _nextToken = new int[1];
    private long _begun;
    private long _firstToken;

    /// <param name="prompt">Token ids, at least one.</param>
    /// <param name="maxTokens">Most tokens of the answer; fits the context.</param>
    /// <param name="options">Checked.</param>
    /// <param name="answer">Reads the tokens.</param>
    /// <param name="streamed">Whether updates are wanted, or only the result.</param>
    /// <param name="constraint">What the answer may be; null for anything.</param>
    /// <param name="cancellationToken">Looked at before every step.</param>
    public GenerationJob(int[] prompt, int maxTokens, GenerationOptions options, AnswerBuilder answer, bool streamed, AnswerConstraint? constraint, CancellationToken cancellationToken)
    {
        Prompt = prompt;
        MaxTokens = maxTokens;
        Options = options;
        Answer = answer;
        Sampler = new Sampler(options, prompt, constraint);
        CancellationToken = cancellationToken;

        // Unbounded: a slow reader must not hold up the others, and an answer is small.
        _updates = streamed ? Channel.CreateUnbounded<GenerationUpdate>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true }) : null;
    }

    public int[] Prompt { get; }

    public int MaxTokens { get; }

    public GenerationOptions Options { get; }

    public AnswerBuilder Answer { get; }

    public Sampler Sampler { get; }

    public CancellationToken CancellationToken { get; }

    public Task<GenerationResult> Completion => _completion.Task;

    public ChannelReader<GenerationUpdate> Updates => _updates!.Reader;

    /// <summary>The cached tokens; null until admitted.</summary>
    public KvSequence? Sequence { get; set; }

    /// <summary>Whose tokens in the cache this call renews; null for a call that stands alone.</summary>
    public SessionState? Session { get; set; }

    /// <summary>Tokens of the prompt that were in the cache already.</summary>
    public int CachedTokens { get; private set; }

    /// <summary>The token that the next step takes in, once the prompt is in.</summary>
    public int NextToken
    {
        get => _nextToken[0];
        set => _nextToken[0] = value;
    }

    /// <summary>First row of the job in the running step.</summary>
    public int StepFirstRow { get; set; }

    /// <summary>Rows of the job in the running step; 0 where it pauses.</summary>
    public int StepRows { get; set; }

    /// <summary>Tokens of the job in the running step.</summary>
    public ReadOnlySpan<int> StepTokens => PromptDone ? _nextToken : Prompt.AsSpan(Sequence!.Length, StepRows);

    /// <summary>Place of the job's logits among those of the step; -1 where it has none.</summary>
    public int StepLogits { get; set; }

    /// <summary>What the decoding of its tokens has read so far.</summary>
    public DecodeReads Reads { get; } = new();

    /// <summary>Whether the running step takes in a token of the answer.</summary>
    public bool IsDecoding => Answer.Tokens.Count > 0;

    public bool PromptDone => Sequence is not null && Sequence.Length >= Prompt.Length;

    /// <summary>Takes what the cache has of the prompt and room for the rest.</summary>
    /// <returns>False, with nothing held, where there is no room.</returns>
    public bool TryPrepare(KvCache cache)
    {
        Sequence = cache.CreateSequence(shares: cache.KeepsPrefixes || Session is not null);
        CachedTokens = 0;
        AdoptFirst();
        if (!Sequence.TryExtend(Prompt.Length - Sequence.Length))
        {
            Release();
            return false;
        }

        AdoptFirst();
        return true;

        // Where calls share nothing, a session's call still goes on from the session.
        void AdoptFirst()
        {
            if (cache.KeepsPrefixes)
            {
                Adopt();
            }
            else if (Session?.Held is { } own)
            {
                CachedTokens += Sequence.Adopt(Prompt, own);
            }
        }
    }

    /// <summary>Takes what others have computed of the prompt meanwhile, where calls share.</summary>
    public void Adopt() => CachedTokens += Sequence!.Adopt(Prompt);

    /// <summary>Notes that the first step with this job begins.</summary>
    public void Begin() => _begun = _begun == 0 ? Stopwatch.GetTimestamp() : _begun;

    /// <summary>Hands out an update.</summary>
    public void Publish(GenerationUpdate update)
    {
        _firstToken = _firstToken == 0 ? Stopwatch.GetTimestamp() : _firstToken;
        _updates?.Writer.TryWrite(update);
    }

    /// <param name="reason">Why the answer ends.</param>
    /// <param name="ceiling">What decoding is measured by.</param>
    /// <param name="cache">Keeps the tokens.</param>
    public void Finish(FinishReason reason, MemoryCeiling ceiling, KvCache cache)
    {
        Leave(cache);
        GenerationUpdate last = Answer.Flush();
        FinishReason told = reason == FinishReason.Stop && Answer.ToolCalls.Count > 0 ? FinishReason.ToolCalls : reason;
        GenerationResult result = MakeResult(told, ceiling);
        _updates?.Writer.TryWrite(last with { Result = result });
        _updates?.Writer.TryComplete();
        _completion.TrySetResult(result);
    }

    /// <summary>Ends the call without a result; what it has computed is good and stays in the cache.</summary>
    public void Cancel(KvCache cache)
    {
        Leave(cache);
        Fail(new OperationCanceledException(CancellationToken));
    }

    public void Fail(Exception error)
    {
        Release();
        _updates?.Writer.TryComplete(error);
        if (error is OperationCanceledException)
        {
            _completion.TrySetCanceled(CancellationToken);
        }
        else
        {
            _completion.TrySetException(error);

            // A streaming caller sees the error through its updates and never looks at this task.
            _ = _completion.Task.Exception;
        }
    }

    /// <summary>Before the caller hears of the end, so that its next call finds the tokens.</summary>
    private void Leave(KvCache cache)
    {
        KvPrefix prefix = Sequence!.Leave();
        Sequence = null;
        if (Session is null)
        {
            cache.Release(prefix);
        }
        else
        {
            Session.Renew(prefix);
        }
    }

    private void Release()
    {
        Sequence?.Dispose();
        Sequence = null;
    }

    private GenerationResult MakeResult(FinishReason reason, MemoryCeiling ceiling)
    {
        long end = Stopwatch.GetTimestamp();
        int tokens = Answer.Tokens.Count;
        TimeSpan prefill = Stopwatch.GetElapsedTime(_begun, _firstToken);
        TimeSpan decode = Stopwatch.GetElapsedTime(_firstToken, end);
        double bytesPerSecond = Reads.BytesPerSecond(decode);
        return new GenerationResult
        {
            Text = Answer.Text,
            Reasoning = Answer.Reasoning,
            ToolCalls = [.. Answer.ToolCalls],
            IncompleteToolCall = Answer.IncompleteToolCall,
            Tokens = [.. Answer.Tokens],
            LogProbabilities = [.. Answer.LogProbabilities],
            FinishReason = reason,
            Usage = new GenerationUsage(Prompt.Length, tokens, Answer.ReasoningTokens, CachedTokens),
            Timings = new GenerationTimings(Stopwatch.GetElapsedTime(_submitted, _begun), prefill, decode)
            {
                PrefillTokensPerSecond = prefill > TimeSpan.Zero ? (Prompt.Length - CachedTokens) / prefill.TotalSeconds : 0,
                DecodeTokensPerSecond = tokens > 1 && decode > TimeSpan.Zero ? (tokens - 1) / decode.TotalSeconds : 0,
                DecodeBytesPerToken = Reads.BytesPerToken,
                DecodeDriveBytesPerToken = Reads.DriveBytesPerToken,
                DecodeBytesPerSecond = bytesPerSecond,
                MemoryBandwidthShare = ceiling.ShareOf(bytesPerSecond, Reads.BytesPerStep),
            },
        };
    }
}
