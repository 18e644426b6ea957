// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Experts;

/// <summary>How an INT4 expert lies in a slot of the GPU's memory: gate, up and down as the checkpoint has them, of each the values and then the factors.</summary>
internal sealed unsafe class ExpertSlotLayout
{
    private readonly long[] _offsets = new long[6];

    public ExpertSlotLayout(ModelShape shape)
    {
        HiddenSize = shape.HiddenSize;
        InnerSize = shape.ExpertIntermediateSize;
        long weights = (long)HiddenSize * InnerSize;
        var layout = new DeviceLayout();
        for (int part = 0; part < _offsets.Length; part++)
        {
            _offsets[part] = layout.Add(part % 2 == 0 ? weights / 2 : weights / Int4Group32.GroupSize * sizeof(ushort));
        }

        Bytes = layout.Bytes;
    }

    public int HiddenSize { get; }

    public int InnerSize { get; }

    /// <summary>Of a slot.</summary>
    public long Bytes { get; }

    /// <summary>Null where the kernels do not suit the model's experts: they must be INT4, in whole groups of 32 columns.</summary>
    public static ExpertSlotLayout? Of(ModelWeights weights)
    {
        ModelShape shape = weights.Shape;
        bool suits = weights.Layers.Any(l => l.IsMoe)
            && shape.HiddenSize % Int4Group32.GroupSize == 0
            && shape.ExpertIntermediateSize % Int4Group32.GroupSize == 0
            && weights.Layers.All(l => l.Experts.All(e => e.Gate.Format == WeightFormat.Int4Group32 && e.Up.Format == WeightFormat.Int4Group32 && e.Down.Format == WeightFormat.Int4Group32));
        var layout = new ExpertSlotLayout(shape);
        return suits && layout.Bytes <= uint.MaxValue && KernelSet.SuitsExperts(shape) ? layout : null;
    }

    /// <summary>Copies an expert to where a slot's bytes are gathered.</summary>
    /// <param name="expert">As the checkpoint has it.</param>
    /// <param name="slot">Room for <see cref="Bytes"/>.</param>
    public void Copy(MlpWeights expert, byte* slot)
    {
        foreach (SlotPart part in Parts(expert))
        {
            Buffer.MemoryCopy((void*)part.Source, slot + part.Offset, part.Bytes, part.Bytes);
        }
    }

    /// <summary>Where the bytes of an expert come from and go to.</summary>
    public SlotPart[] Parts(MlpWeights expert) =>
    [
        Values(expert.Gate, 0), Factors(expert.Gate, 1),
        Values(expert.Up, 2), Factors(expert.Up, 3),
        Values(expert.Down, 4), Factors(expert.Down, 5),
    ];

    /// <param name="data">Address of the first slot on the device.</param>
    public ExpertSlotsArguments At(ulong data) => new()
    {
        Data = data,
        SlotBytes = (ulong)Bytes,
        GateScales = (uint)_offsets[1],
        Up = (uint)_offsets[2],
        UpScales = (uint)_offsets[3],
        Down = (uint)_offsets[4],
        DownScales = (uint)_offsets[5],
    };

    private SlotPart Values(in WeightMatrix matrix, int part) => new((nint)matrix.Data, _offsets[part], (long)matrix.Rows * matrix.RowBytes);

    private SlotPart Factors(in WeightMatrix matrix, int part) => new((nint)matrix.Scales, _offsets[part], (long)matrix.Rows * Int4Group32.GroupsPerRow(matrix.Columns) * sizeof(ushort));
}

/// <summary>Bytes of an expert: where the checkpoint has them, and their place in a slot.</summary>
internal readonly record struct SlotPart(nint Source, long Offset, long Bytes);
