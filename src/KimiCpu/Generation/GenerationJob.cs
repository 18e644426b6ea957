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
internal sealed class GenerationJob : ScheduledCall
{
    private readonly Channel<GenerationUpdate>? _updates;
    private readonly TaskCompletionSource<GenerationResult> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _submitted = Stopwatch.GetTimestamp();
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
        : base(prompt, maxTokens, cancellationToken)
    {
        Options = options;
        Answer = answer;
        Sampler = new Sampler(options, prompt, constraint);
        Reporter = options.PromptProgress is { } progress ? new PromptReporter(progress, prompt.Length) : null;

        // Unbounded: a slow reader must not hold up the others, and an answer is small (MaxTokens bounds it).
        _updates = streamed ? Channel.CreateUnbounded<GenerationUpdate>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true }) : null;
    }

    public GenerationOptions Options { get; }

    public AnswerBuilder Answer { get; }

    public Sampler Sampler { get; }

    /// <summary>Tells the caller how far the prompt is; null where he has not asked.</summary>
    public PromptReporter? Reporter { get; }

    /// <summary>What the call took before there was a job.</summary>
    public TimeSpan Preparation { get; init; }

    public Task<GenerationResult> Completion => _completion.Task;

    public ChannelReader<GenerationUpdate> Updates => _updates!.Reader;

    /// <summary>What the decoding of its tokens has read so far.</summary>
    public DecodeReads Reads { get; } = new();

    /// <summary>What was computed of it, once it has ended; nothing where no step has begun.</summary>
    public GenerationUsage Computed => _begun == 0 ? new GenerationUsage(0, 0, 0) : new GenerationUsage(PromptTokensIn, Answer.Tokens.Count, Answer.ReasoningTokens, CachedTokens);

    protected override IReadOnlyList<int> Answered => Answer.Tokens;

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

    protected override void Tell(Exception error)
    {
        _updates?.Writer.TryComplete(error);
        if (error is OperationCanceledException && CancellationToken.IsCancellationRequested)
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
            StopSequence = Answer.StopSequence,
            Usage = new GenerationUsage(Prompt.Length, tokens, Answer.ReasoningTokens, CachedTokens),
            Timings = new GenerationTimings(Preparation + Stopwatch.GetElapsedTime(_submitted, _begun), prefill, decode)
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
