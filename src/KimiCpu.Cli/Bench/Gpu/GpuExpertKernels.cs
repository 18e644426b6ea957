// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>The kernels of one INT4 expert: of one row, and of many on the tensor cores.</summary>
internal sealed unsafe class GpuExpertKernels : IDisposable
{
    /// <summary>What a slot table has where the host has the expert: no_slot of Kernels/experts.cu.</summary>
    private const uint NoSlot = uint.MaxValue;

    private readonly GpuTestBed _bed;
    private readonly ModelShape _shape;
    private readonly ExpertSlotLayout _layout;
    private readonly ExpertWork _work;
    private readonly CudaDeviceVariable<byte> _memory;
    private readonly CudaDeviceVariable<uint> _table;
    private readonly int _slots;

    public GpuExpertKernels(GpuTestBed bed)
    {
        _bed = bed;
        _shape = bed.Sizes.Shape;
        _layout = new ExpertSlotLayout(_shape);
        _work = new ExpertWork(_shape, bed.Sizes.ExpertTokens.Max());
        _slots = bed.Copies(_layout.Bytes);

        // Zeros, which are ids of experts and slots too; then for each slot the choice of a row that has it, and others that the host has.
        int zeros = Math.Max(_shape.ExpertCount, _shape.ExpertsPerToken);
        uint[] choices = [.. Enumerable.Range(0, _slots).SelectMany(s => Enumerable.Range(0, _shape.ExpertsPerToken).Select(k => k == 0 ? (uint)s : NoSlot))];
        int rows = bed.Sizes.ExpertTokens.Max();
        using var host = new CudaPageLockedHostMemory<uint>(bed.Context, zeros + choices.Length + rows);
        choices.CopyTo(host.Span[zeros..]);
        for (int row = 0; row < rows; row++)
        {
            host.Span[zeros + choices.Length + row] = (uint)row;
        }

        _table = new CudaDeviceVariable<uint>(bed.Context, host.Length);
        try
        {
            _memory = new CudaDeviceVariable<byte>(bed.Context, _work.Bytes);
            _work.Place(_memory.DevicePointer);
            GpuRandom.Fill(bed.Context, bed.Stream, _memory.DevicePointer, _work.Bytes);
            bed.Stream.CopyToDevice(_table.DevicePointer, host.Pointer, host.Length * sizeof(uint));
            bed.Stream.Synchronize();
        }
        catch
        {
            Dispose();
            throw;
        }

        Choices = _table.DevicePointer + ((ulong)zeros * sizeof(uint));
        Rows = Choices + ((ulong)choices.Length * sizeof(uint));
    }

    /// <summary>(slots, experts per token).</summary>
    private ulong Choices { get; }

    /// <summary>(most tokens) 0, 1, 2, ….</summary>
    private ulong Rows { get; }

    public IEnumerable<GpuKernelResult> Measure()
    {
        double part = _layout.Bytes / 3.0;
        double operations = 2.0 * _shape.HiddenSize * _shape.ExpertIntermediateSize;
        yield return Time("INT4 expert: rounding a row", 0, 0, null, _ => _bed.Kernels.RoundForExperts(_bed.Stream, 1, new ExpertRoundArguments
        {
            Residual = _bed.Workspace.Residual,
            Gain = _bed.Pool,
            Ids = _table.DevicePointer,
            Weights = _table.DevicePointer,
            SlotOf = _table.DevicePointer,
            Slots = _work.PairSlots,
            SlotWeights = _work.PairWeights,
            Rounded = _work.Rounded,
            Size = (uint)_shape.HiddenSize,
            Chosen = (uint)_shape.ExpertsPerToken,
            Epsilon = _shape.NormEpsilon,
        }));
        yield return Time($"INT4 expert gate + up {2 * _shape.ExpertIntermediateSize}x{_shape.HiddenSize}, 1 row", 2 * part, 2 * operations, GpuKernelResult.DecodeShare, slot => _bed.Kernels.ExpertGateUp(_bed.Stream, new ExpertGateUpArguments
        {
            Experts = _layout.At(_bed.Pool),
            Slots = ChoiceOf(slot),
            Rounded = _work.Rounded,
            Inner = _work.Inner,
            Pairs = (uint)_shape.ExpertsPerToken,
            Chosen = (uint)_shape.ExpertsPerToken,
            Size = (uint)_shape.HiddenSize,
            InnerSize = (uint)_shape.ExpertIntermediateSize,
        }));
        yield return Time($"INT4 expert down {_shape.HiddenSize}x{_shape.ExpertIntermediateSize}, 1 row", part, operations, GpuKernelResult.DecodeShare, slot => _bed.Kernels.ExpertDown(_bed.Stream, 1, new ExpertDownArguments
        {
            Experts = _layout.At(_bed.Pool),
            Slots = ChoiceOf(slot),
            SlotWeights = _work.PairWeights,
            Inner = _work.Inner,
            Output = _bed.Workspace.Shared,
            Chosen = (uint)_shape.ExpertsPerToken,
            Size = (uint)_shape.HiddenSize,
            InnerSize = (uint)_shape.ExpertIntermediateSize,
        }));
    }

    /// <summary>Each row's pair is its own number.</summary>
    public IEnumerable<GpuKernelResult> MeasureMany()
    {
        int most = _bed.Sizes.ExpertTokens.Max();
        yield return TimeMany($"INT4 expert: rounding {most} rows", 0, _ => _bed.Kernels.RoundForExpertGemm(_bed.Stream, most, new ExpertGemmRoundArguments
        {
            Residual = _bed.Workspace.Residual,
            Gain = _bed.Pool,
            Rounded = _work.Rounded,
            Size = (uint)_shape.HiddenSize,
            Epsilon = _shape.NormEpsilon,
        }));
        foreach (int count in _bed.Sizes.ExpertTokens)
        {
            double operations = 2.0 * count * _shape.HiddenSize * _shape.ExpertIntermediateSize;
            yield return TimeMany($"INT4 expert gate + up {2 * _shape.ExpertIntermediateSize}x{_shape.HiddenSize}, {count} rows", 2 * operations, slot => _bed.Kernels.ExpertGemmGateUp(_bed.Stream, new ExpertGemmGateUpArguments
            {
                Expert = SlotAt(slot),
                Tokens = Rows,
                Rounded = _work.Rounded,
                Inner = _work.Inner,
                Count = (uint)count,
                Size = (uint)_shape.HiddenSize,
                InnerSize = (uint)_shape.ExpertIntermediateSize,
            }));
            yield return TimeMany($"INT4 expert down {_shape.HiddenSize}x{_shape.ExpertIntermediateSize}, {count} rows", operations, slot => _bed.Kernels.ExpertGemmDown(_bed.Stream, new ExpertGemmDownArguments
            {
                Expert = SlotAt(slot),
                Tokens = Rows,
                Weights = _work.PairWeights,
                Inner = _work.Inner,
                Output = _bed.Workspace.Shared,
                Count = (uint)count,
                Size = (uint)_shape.HiddenSize,
                InnerSize = (uint)_shape.ExpertIntermediateSize,
            }));
        }
    }

    public void Dispose()
    {
        _memory?.Dispose();
        _table.Dispose();
    }

    private GpuKernelResult Time(string name, double bytes, double operations, double? wanted, Action<int> put) =>
        _bed.Time(new GpuKernelResult(name, bytes, operations, operations, 0, 0, wanted), _slots, _bed.Sizes.DecodeLaunches, put);

    private GpuKernelResult TimeMany(string name, double operations, Action<int> put) =>
        _bed.Time(new GpuKernelResult(name, 0, operations, operations, 0, 0, null), _slots, _bed.Sizes.PromptLaunches, put);

    private ExpertSlotsArguments SlotAt(int slot) => _layout.At(_bed.Pool + ((ulong)slot * (ulong)_layout.Bytes));

    private ulong ChoiceOf(int slot) => Choices + ((ulong)slot * (ulong)_shape.ExpertsPerToken * sizeof(uint));
}
