// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Sessions;

/// <summary>How far a save is that has to compute tokens first, which takes most of its time.</summary>
/// <param name="target">Told the part of the whole that is done, 0 … 1.</param>
internal sealed class ComputingSaveProgress(IProgress<double> target) : IProgress<PromptProgress>, IProgress<double>
{
    private const double Writing = 0.1;

    /// <param name="value">Of the computing.</param>
    public void Report(PromptProgress value) => target.Report((1 - Writing) * value.Tokens / value.TotalTokens);

    /// <param name="value">Of the writing.</param>
    public void Report(double value) => target.Report(1 - (Writing * (1 - value)));
}
