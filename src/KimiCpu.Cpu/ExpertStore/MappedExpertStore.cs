// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>Experts that fit into memory: views of the checkpoint's mapping, always there.</summary>
internal sealed class MappedExpertStore(ModelWeights weights) : IExpertStore
{
    private readonly MlpWeights[] _wanted = new MlpWeights[weights.Shape.ExpertCount];
    private int _count;
    private int _received;

    public long DriveBytesRead => 0;

    public ExpertLookups Lookups => default;

    public MlpWeights this[int place] => _wanted[place];

    public void Begin(int layer, ReadOnlySpan<int> experts)
    {
        MlpWeights[] all = weights.Layers[layer].Experts;
        for (int place = 0; place < experts.Length; place++)
        {
            _wanted[place] = all[experts[place]];
        }

        (_count, _received) = (experts.Length, 0);
    }

    public int WaveEnd(int first) => _count;

    public void Request(int first, int end)
    {
    }

    public int Receive(int first, int end, Span<int> ready)
    {
        int count = end - Math.Max(first, _received);
        for (int i = 0; i < count; i++)
        {
            ready[i] = _received + i;
        }

        _received = end;
        return count;
    }

    public void Release(int first, int end)
    {
    }

    public void End()
    {
    }

    public void Expect(int layer, ReadOnlySpan<int> experts)
    {
    }

    public void Dispose()
    {
    }
}
