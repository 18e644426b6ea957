// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Experts;

namespace KimiCpu.Devices;

/// <summary>
/// Puts on the GPU what is used most. Counts the passes that use an expert, however many of their tokens do, since that is how often the CPU would
/// read it. Used by the thread that runs the passes.
/// </summary>
internal sealed unsafe class HotExpertPlacement : IExpertPlacement
{
    /// <summary>Passes between two looks at all counts.</summary>
    private const int LookEvery = 16;

    /// <summary>
    /// An expert takes the place of one that is used less by so much. Bringing it costs one more reading of it and the way to the GPU, so it pays after
    /// a few uses; the share keeps two that are used alike from taking turns.
    /// </summary>
    private const double Share = 1.25;

    private const double Uses = 4;

    private readonly ModelWeights _weights;
    private readonly UseCounts _counts;
    private readonly int _firstMoeLayer;
    private readonly long[] _lastPass;
    private long _pass;
    private long _nextLook;

    /// <param name="weights">Of the model.</param>
    /// <param name="counts">Of earlier uses, (layers x experts); all later ones are added.</param>
    public HotExpertPlacement(ModelWeights weights, UseCounts counts)
    {
        _weights = weights;
        _counts = counts;
        _firstMoeLayer = Array.FindIndex(weights.Layers, l => l.IsMoe);
        _lastPass = new long[counts.Keys];
    }

    /// <summary>The most used ones of earlier runs; then, as any is as good as any other, some of every layer.</summary>
    public IReadOnlyList<int> First(int count)
    {
        int experts = _weights.Shape.ExpertCount;
        IEnumerable<int> any = Enumerable.Range(0, experts).SelectMany(e => Enumerable.Range(0, _weights.Layers.Length).Where(l => _weights.Layers[l].IsMoe).Select(l => (l * experts) + e));
        return [.. ExpertStatistics.Hottest(_counts, count).Where(IsExpert).Concat(any).Distinct().Take(count)];
    }

    /// <summary>Notes a layer's choices.</summary>
    public void Note(int layer, RoutedRows rows)
    {
        if (layer == _firstMoeLayer)
        {
            _pass++;
            _counts.BeginStep();
        }

        int first = layer * _weights.Shape.ExpertCount;
        for (int i = 0; i < rows.RowCount * _weights.Shape.ExpertsPerToken; i++)
        {
            int key = first + rows.Experts[i];
            if (_lastPass[key] != _pass)
            {
                _lastPass[key] = _pass;
                _counts.Use(key);
            }
        }
    }

    public ExpertMove? Next(ReadOnlySpan<bool> held)
    {
        if (_pass < _nextLook)
        {
            return null;
        }

        _nextLook = _pass + LookEvery;
        int hottest = -1;
        int coldest = -1;
        for (int key = 0; key < held.Length; key++)
        {
            if (!IsExpert(key))
            {
                continue;
            }

            if (held[key])
            {
                coldest = coldest < 0 || _counts.Rank(key) < _counts.Rank(coldest) ? key : coldest;
            }
            else
            {
                hottest = hottest < 0 || _counts.Rank(key) > _counts.Rank(hottest) ? key : hottest;
            }
        }

        return hottest >= 0 && coldest >= 0 && _counts.Count(hottest) > (_counts.Count(coldest) * Share) + Uses ? new ExpertMove(hottest, coldest) : null;
    }

    private bool IsExpert(int key) => _weights.Layers[key / _weights.Shape.ExpertCount].IsMoe;
}
