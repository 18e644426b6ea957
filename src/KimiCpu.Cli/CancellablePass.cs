// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Cli;

/// <summary>Forward passes that a Ctrl-C ends: one may take minutes where experts come from a drive, longer than a program that is told to end is waited for.</summary>
internal static class CancellablePass
{
    /// <param name="forward">Of the model.</param>
    /// <param name="batch">See <see cref="ForwardPass.Run"/>.</param>
    /// <param name="logits">See <see cref="ForwardPass.Run"/>.</param>
    /// <param name="cancellationToken">Honoured before every layer.</param>
    /// <exception cref="OperationCanceledException">The token was cancelled; neither logits nor what the pass has added to the cache mean anything.</exception>
    public static void Run(this ForwardPass forward, RaggedBatch batch, Span<float> logits, CancellationToken cancellationToken)
    {
        if (!forward.Run(batch, logits, _ => !cancellationToken.IsCancellationRequested))
        {
            throw new OperationCanceledException(cancellationToken);
        }
    }
}
