// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>The tokens of one expert: pairs FirstPair … FirstPair + PairCount - 1.</summary>
internal readonly record struct ExpertGroup(int Expert, int FirstPair, int PairCount);

/// <summary>The (token, expert) pairs of a batch that no other device computes, in the order of rising expert id, and within an expert of rising token.</summary>
internal sealed unsafe class ExpertGroups : IDisposable
{
    private readonly ModelShape _shape;
    private readonly int[] _counts;
    private readonly List<ExpertGroup> _groups = [];
    private readonly AlignedBuffer<int> _tokenOf = new();
    private readonly AlignedBuffer<int> _pairIndex = new();
    private readonly AlignedBuffer<float> _weightOf = new();

    public ExpertGroups(ModelShape shape)
    {
        _shape = shape;
        _counts = new int[shape.ExpertCount];
    }

    /// <summary>Experts that any token chose.</summary>
    public int Count => _groups.Count;

    public ExpertGroup this[int index] => _groups[index];

    public int PairCount { get; private set; }

    /// <summary>Tokens of the busiest expert.</summary>
    public int LargestPairCount { get; private set; }

    /// <summary>(pairs) row of the token.</summary>
    public int* TokenOf => _tokenOf.Pointer;

    /// <summary>(pairs) 0, 1, 2, …: the row of a pair among all pairs.</summary>
    public int* PairIndex => _pairIndex.Pointer;

    /// <summary>(pairs) factor of the expert's output.</summary>
    public float* WeightOf => _weightOf.Pointer;

    public void Build(RoutedRows rows)
    {
        int chosen = _shape.ExpertsPerToken;
        int pairs = rows.RowCount * chosen;
        PairCount = 0;
        LargestPairCount = 0;
        _tokenOf.EnsureCapacity(pairs);
        _weightOf.EnsureCapacity(pairs);
        _pairIndex.EnsureCapacity(pairs);
        _groups.Clear();
        Array.Clear(_counts);
        for (int pair = 0; pair < pairs; pair++)
        {
            if (rows.IsHere(rows.Experts[pair]))
            {
                _pairIndex.Pointer[PairCount] = PairCount;
                PairCount++;
                _counts[rows.Experts[pair]]++;
            }
        }

        int next = 0;
        for (int e = 0; e < _counts.Length; e++)
        {
            if (_counts[e] > 0)
            {
                _groups.Add(new ExpertGroup(e, next, _counts[e]));
                LargestPairCount = Math.Max(LargestPairCount, _counts[e]);
                (_counts[e], next) = (next, next + _counts[e]);
            }
        }

        // The counts are now each expert's next free place.
        for (int pair = 0; pair < pairs; pair++)
        {
            if (!rows.IsHere(rows.Experts[pair]))
            {
                continue;
            }

            int place = _counts[rows.Experts[pair]]++;
            _tokenOf.Pointer[place] = pair / chosen;
            _weightOf.Pointer[place] = rows.Weights[pair];
        }
    }

    public void Dispose()
    {
        _tokenOf.Dispose();
        _pairIndex.Dispose();
        _weightOf.Dispose();
    }
}
