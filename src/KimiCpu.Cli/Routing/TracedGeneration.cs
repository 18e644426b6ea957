// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Cli.Routing;

/// <summary>Continues a text and records the routing of every forward pass: the prompt's in chunks, then one token each.</summary>
internal static class TracedGeneration
{
    /// <summary>What can be known before there is a model, whose opening may take an hour.</summary>
    /// <exception cref="ContextLengthException">The prompt leaves no room.</exception>
    public static void Check(int[] prompt, ModelShape shape)
    {
        if (prompt.Length > shape.MaxPositions)
        {
            throw new ContextLengthException(FormattableString.Invariant($"The text has {prompt.Length:N0} tokens; the model's context holds {shape.MaxPositions:N0}. Trace a part of it."));
        }
    }

    /// <param name="opened">With look-ahead.</param>
    /// <param name="prompt">1 token or more, as <see cref="Check"/> lets it.</param>
    /// <param name="options">Checked; <see cref="GenerationOptions.MaxTokens"/> is set.</param>
    /// <param name="chunk">Tokens of the prompt that a pass takes in.</param>
    /// <param name="recorder">Of the model.</param>
    /// <param name="writer">Receives the passes.</param>
    /// <param name="token">Told every token that is generated.</param>
    /// <param name="cancellationToken">Honoured between layers; what is recorded are whole passes.</param>
    public static void Run(
        OpenedModel opened, int[] prompt, GenerationOptions options, int chunk, TraceRecorder recorder, RoutingTraceWriter writer, Action<int> token, CancellationToken cancellationToken)
    {
        ModelShape shape = opened.Weights.Shape;
        var cache = new KvCache(opened.HotPath, long.MaxValue, Math.Min(shape.MaxPositions, int.MaxValue - chunk));
        using KvSequence sequence = cache.CreateSequence();
        var sampler = new Sampler(options, prompt);
        var batch = new RaggedBatch();
        var logits = new float[shape.VocabularySize];
        for (int done = 0; done < prompt.Length; done += chunk)
        {
            int count = Math.Min(chunk, prompt.Length - done);
            Step(prompt.AsSpan(done, count), done + count == prompt.Length);
        }

        int most = Math.Min(options.MaxTokens!.Value, shape.MaxPositions - prompt.Length);
        for (int i = 0; i < most; i++)
        {
            int next = sampler.Sample(logits);
            if (!options.IgnoreEndOfText && opened.Checkpoint.Config.EosTokenIds.Contains(next))
            {
                return;
            }

            token(next);
            Step([next], wanted: true);
        }

        void Step(ReadOnlySpan<int> tokens, bool wanted)
        {
            sequence.Extend(tokens.Length);
            batch.Clear();
            batch.Add(tokens, sequence.Length, sequence.Pages, wanted ? LogitsWanted.Last : LogitsWanted.None);
            writer.Write(recorder.Run(batch, logits.AsSpan(0, wanted ? logits.Length : 0), cancellationToken));
            sequence.Advance(tokens.Length);
        }
    }
}
