// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>One read of a file into a slot; all numbers are multiples of <see cref="IWeightFiles.Alignment"/>.</summary>
internal readonly record struct SlotRead(int File, long Offset, long Length, long SlotOffset)
{
    public long End => Offset + Length;
}

/// <summary>
/// How an expert's tensors come into a slot: neighbours in a file in one read, with the alignment that direct reads need;
/// a tensor then lies wherever its read puts it.
/// </summary>
internal sealed unsafe class ExpertLayout
{
    /// <summary>Reading so many bytes more costs less than another read.</summary>
    public const long LargestGap = 128 << 10;

    private readonly long[] _offsets = new long[ExpertFiles.Parts];
    private readonly List<SlotRead> _reads = [];

    public ExpertLayout(ReadOnlySpan<TensorPlace> parts)
    {
        Span<int> order = stackalloc int[ExpertFiles.Parts];
        int count = Sort(parts, order);
        foreach (int part in order[..count])
        {
            TensorPlace place = parts[part];
            long begin = Down(place.Offset);
            long end = Down(place.End + IWeightFiles.Alignment - 1);
            if (_reads.Count > 0 && _reads[^1] is var last && last.File == place.File && begin - last.End <= LargestGap)
            {
                _reads[^1] = last with { Length = Math.Max(last.End, end) - last.Offset };
            }
            else
            {
                _reads.Add(new SlotRead(place.File, begin, end - begin, SlotBytes));
            }

            SlotBytes = _reads[^1].SlotOffset + _reads[^1].Length;
            _offsets[part] = _reads[^1].SlotOffset + place.Offset - _reads[^1].Offset;
        }
    }

    public IReadOnlyList<SlotRead> Reads => _reads;

    /// <summary>Bytes of a slot that this expert takes.</summary>
    public long SlotBytes { get; }

    /// <summary>The expert in a slot. Formats and shapes are those of <paramref name="stored"/>.</summary>
    public MlpWeights At(byte* slot, MlpWeights stored) => new()
    {
        Gate = Matrix(slot, stored.Gate, 0),
        Up = Matrix(slot, stored.Up, 2),
        Down = Matrix(slot, stored.Down, 4),
    };

    /// <summary>Parts that exist, by file and offset.</summary>
    private static int Sort(ReadOnlySpan<TensorPlace> parts, Span<int> order)
    {
        int count = 0;
        for (int part = 0; part < parts.Length; part++)
        {
            if (parts[part].Length == 0)
            {
                continue;
            }

            int at = count++;
            for (; at > 0 && (parts[order[at - 1]].File, parts[order[at - 1]].Offset).CompareTo((parts[part].File, parts[part].Offset)) > 0; at--)
            {
                order[at] = order[at - 1];
            }

            order[at] = part;
        }

        return count;
    }

    private static long Down(long offset) => offset / IWeightFiles.Alignment * IWeightFiles.Alignment;

    private WeightMatrix Matrix(byte* slot, in WeightMatrix stored, int part) => new(
        stored.Format, stored.Rows, stored.Columns, slot + _offsets[part], stored.Scales == null ? null : slot + _offsets[part + 1], stored.BlockRows, stored.BlockColumns);
}
