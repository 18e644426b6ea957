// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>
/// Runs kernels block by block, the warps of a block from barrier to barrier. Lanes that part ways run one group at a time, the
/// lowest instruction first, and join where they meet again.
/// </summary>
internal sealed unsafe class PtxMachine(DeviceMemory memory) : IDisposable
{
    /// <summary>What no kernel here needs; one that does hangs.</summary>
    private const long MaxInstructions = 2_000_000_000;

    /// <summary>A block may have so much on every GPU from compute capability 8.0 on.</summary>
    private const int MaxSharedBytes = 99 * 1024;

    private readonly SharedMemory _shared = new();
    private readonly List<PtxWarp> _warps = [];
    private readonly Dictionary<PtxKernel, DeviceMemory.Allocation?[]> _lastAllocations = [];

    /// <summary>Warp instructions run so far.</summary>
    public long Instructions { get; private set; }

    /// <summary>Runs the blocks of a grid from the last to the first, for kernels whose blocks must not depend on each other's order.</summary>
    public bool LastBlockFirst { get; set; }

    public void Launch(PtxKernel kernel, uint gridX, uint gridY, uint gridZ, int threads, int dynamicBytes, byte[] parameters)
    {
        if (threads < 1 || threads > kernel.MaxThreads || gridX < 1 || gridY is < 1 or > 65535 || gridZ is < 1 or > 65535)
        {
            throw new PtxFault($"{kernel.Name}: {threads} threads (at most {kernel.MaxThreads}) in a grid of {gridX} x {gridY} x {gridZ}");
        }

        int sharedBytes = kernel.SharedBytes + dynamicBytes;
        if (sharedBytes > MaxSharedBytes)
        {
            throw new PtxFault($"{kernel.Name}: {sharedBytes} bytes of shared memory");
        }

        if (!_lastAllocations.TryGetValue(kernel, out DeviceMemory.Allocation?[]? lastAllocations))
        {
            _lastAllocations.Add(kernel, lastAllocations = new DeviceMemory.Allocation?[kernel.Code.Length]);
        }

        long count = (long)gridX * gridY * gridZ;
        var block = new PtxBlock(kernel, parameters, _shared, memory, threads, gridX, gridY, gridZ) { LastAllocations = lastAllocations, Publication = kernel.RaisesFlag ? new PtxPublication(threads, count) : null };
        int warps = (threads + 31) / 32;
        while (_warps.Count < warps)
        {
            _warps.Add(new PtxWarp());
        }

        for (long n = 0; n < count; n++)
        {
            long index = LastBlockFirst ? count - 1 - n : n;
            (block.X, block.Y, block.Z) = ((uint)(index % gridX), (uint)(index / gridX % gridY), (uint)(index / gridX / gridY));
            _shared.Resize(sharedBytes);
            block.Publication?.StartBlock();
            for (int w = 0; w < warps; w++)
            {
                _warps[w].Start(block, w, threads - (w * 32));
            }

            Run(_warps.GetRange(0, warps));
        }
    }

    public void Dispose()
    {
        _shared.Dispose();
        _warps.ForEach(w => w.Dispose());
    }

    private void Run(List<PtxWarp> warps)
    {
        while (true)
        {
            bool alive = false;
            foreach (PtxWarp warp in warps)
            {
                if (warp.Live != 0)
                {
                    Run(warp);
                    alive |= warp.Live != 0;
                }
            }

            if (!alive)
            {
                break;
            }

            // A warp runs until it has ended or stands at the barrier, so all that live stand there now.
            _shared.Epoch++;
            warps[0].Block.Publication?.Barrier();
            foreach (PtxWarp warp in warps)
            {
                warp.Epoch = 0;
            }
        }

        foreach (PtxWarp warp in warps)
        {
            if (warp.Copies.Count > 0)
            {
                throw new PtxFault($"{warp.Block.Kernel.Name}: warp {warp.Index} ended with {warp.Copies.Count} copies on their way");
            }
        }
    }

    /// <summary>To the next barrier or the end.</summary>
    private void Run(PtxWarp w)
    {
        PtxInstruction[] code = w.Block.Kernel.Code;
        int[] counters = w.Counters;
        while (w.Live != 0)
        {
            int at = NextGroup(code, w, out uint mask, out int meeting);
            while (true)
            {
                if (at == meeting)
                {
                    Save(counters, mask, at);
                    break;
                }

                PtxInstruction i = code[at];
                if (++Instructions > MaxInstructions)
                {
                    throw w.Fault(i, "the kernel does not end");
                }

                uint active = mask;
                if (i.Guard >= 0)
                {
                    uint predicate = *(uint*)(w.Registers + i.Guard);
                    active &= i.GuardNegated ? ~predicate : predicate;
                }

                if (i.Flow == PtxFlow.Straight)
                {
                    if (active != 0)
                    {
                        i.Execute(i, w, active);
                    }

                    at++;
                }
                else if (i.Flow == PtxFlow.Branch)
                {
                    if (active == mask)
                    {
                        at = i.Target;

                        // Lanes may wait on either side of where a jump goes.
                        if (mask != w.Live)
                        {
                            Save(counters, mask, at);
                            break;
                        }
                    }
                    else if (active == 0)
                    {
                        at++;
                    }
                    else
                    {
                        Save(counters, active, i.Target);
                        Save(counters, mask & ~active, at + 1);
                        break;
                    }
                }
                else if (i.Flow == PtxFlow.Return)
                {
                    w.Live &= ~active;
                    Save(counters, mask & ~active, at + 1);
                    break;
                }
                else if (mask != w.Live)
                {
                    // The others are on their way here, or wait at another such instruction, which NextGroup notices.
                    Save(counters, mask, at);
                    break;
                }
                else
                {
                    if (active != mask)
                    {
                        throw w.Fault(i, "some lanes of the warp skip it by a predicate");
                    }

                    if (i.Flow == PtxFlow.Barrier)
                    {
                        Save(counters, mask, at + 1);
                        return;
                    }

                    if (w.Live != uint.MaxValue)
                    {
                        throw w.Fault(i, "some lanes of the warp have ended or never were");
                    }

                    i.Execute(i, w, mask);
                    at++;
                }
            }
        }
    }

    private static void Save(int[] counters, uint lanes, int at)
    {
        for (; lanes != 0; lanes &= lanes - 1)
        {
            counters[BitOperations.TrailingZeroCount(lanes)] = at;
        }
    }

    /// <summary>The lanes to run next, and the first instruction behind theirs where others wait.</summary>
    private static int NextGroup(PtxInstruction[] code, PtxWarp w, out uint mask, out int meeting)
    {
        int lowest = int.MaxValue;
        int together = -1;
        bool agree = true;
        for (uint lanes = w.Live; lanes != 0; lanes &= lanes - 1)
        {
            int at = w.Counters[BitOperations.TrailingZeroCount(lanes)];
            if (code[at].Flow is PtxFlow.WarpWide or PtxFlow.Barrier)
            {
                agree &= together < 0 || together == at;
                together = at;
            }
            else
            {
                lowest = Math.Min(lowest, at);
            }
        }

        if (lowest == int.MaxValue)
        {
            if (!agree)
            {
                throw w.Fault(code[together], "lanes of one warp wait at different instructions that need them all");
            }

            lowest = together;
        }

        mask = 0;
        meeting = int.MaxValue;
        for (uint lanes = w.Live; lanes != 0; lanes &= lanes - 1)
        {
            int lane = BitOperations.TrailingZeroCount(lanes);
            int at = w.Counters[lane];
            if (at == lowest)
            {
                mask |= 1u << lane;
            }
            else if (at > lowest)
            {
                meeting = Math.Min(meeting, at);
            }
        }

        return lowest;
    }
}
