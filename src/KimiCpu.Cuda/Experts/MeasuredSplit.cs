// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// Lets both sides end at the same time. An expert's way to the GPU takes as long however many tokens it has, so those with most go there.
/// Speeds are those of the layers just computed; the first layer of each pass is the CPU's alone, so that it stays known what that takes.
/// </summary>
/// <param name="expertBytes">Of an expert.</param>
/// <param name="firstLayer">The first MoE layer.</param>
internal sealed class MeasuredSplit(long expertBytes, int firstLayer) : IStreamSplit
{
    /// <summary>
    /// Reading an expert costs the CPU as much as multiplying so many tokens. A guess that hardly matters: the speed is measured with it, for the
    /// experts that the CPU is left with, and where the two sides end together it is these that count.
    /// </summary>
    private const double ReadingInTokens = 4;

    /// <summary>Bytes a second that are assumed of the way to a GPU before anything has been there: a quarter of a PCIe 4 link's.</summary>
    private const double AssumedBytesPerSecond = 6e9;

    /// <summary>What is assumed to come with every expert, however small.</summary>
    private const double AssumedSeconds = 1e-4;

    /// <summary>Share of the CPU's time alone that streaming must promise to stay below.</summary>
    private const double WorthIt = 0.9;

    /// <summary>Weight of the newest of the measurements.</summary>
    private const double Newest = 0.5;

    /// <summary>How fast is forgotten what spoke against streaming, a layer: it is tried again now and then.</summary>
    private const double Forgotten = 1.0 / 256;

    private readonly double _assumed = AssumedSeconds + (expertBytes / AssumedBytesPerSecond);

    /// <summary>The way of an expert, in seconds; null before the first.</summary>
    private double? _ofExpert;

    /// <summary>The CPU's seconds for a token's work, alone and while it shares its memory with the way to the GPU; null before the first.</summary>
    private double? _alone;
    private double? _beside;

    public int Choose(int layer, ReadOnlySpan<int> tokens)
    {
        if (layer == firstLayer || _alone is not { } alone)
        {
            return 0;
        }

        double left = 0;
        foreach (int count in tokens)
        {
            left += Work(1, count);
        }

        double beside = _beside ?? alone;
        double ofExpert = _ofExpert ?? _assumed;
        double best = WorthIt * alone * left;
        int choice = 0;
        for (int n = 1; n <= tokens.Length; n++)
        {
            left -= Work(1, tokens[n - 1]);
            double time = Math.Max(n * ofExpert, beside * left);
            if (time < best)
            {
                (best, choice) = (time, n);
            }
        }

        return choice;
    }

    public void Note(in StreamedLayer took)
    {
        double? sample = took.Left == 0 ? null : took.CpuSeconds / Work(took.Left, took.LeftTokens);
        if (took.Streamed > 0)
        {
            double ofExpert = took.GpuSeconds / took.Streamed;
            _ofExpert = Toward(_ofExpert ?? ofExpert, ofExpert, Newest);
            _beside = sample is { } seconds ? Toward(_beside ?? seconds, seconds, Newest) : _beside;
        }
        else if (sample is { } seconds)
        {
            _alone = Toward(_alone ?? seconds, seconds, Newest);
            _beside = _beside is { } beside ? Toward(beside, _alone.Value, Forgotten) : null;
            _ofExpert = _ofExpert is { } slow ? Toward(slow, Math.Min(slow, _assumed), Forgotten) : null;
        }
    }

    private static double Work(int experts, long tokens) => tokens + (experts * ReadingInTokens);

    private static double Toward(double from, double to, double share) => from + ((to - from) * share);
}
