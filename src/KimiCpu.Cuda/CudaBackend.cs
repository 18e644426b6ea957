// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;

namespace KimiCpu.Cuda;

/// <summary>A model's GPU side: the context and the hot path. Owns both.</summary>
internal sealed class CudaBackend : IDisposable
{
    /// <summary>How often memory may be refused that was free when a plan was made, and which share of it the next plan does without.</summary>
    private const int MostRefusals = 3;
    private const int RefusedShare = 20;

    private readonly CudaContext _context;

    /// <param name="driver">The driver's functions.</param>
    /// <param name="ordinal">Which GPU.</param>
    /// <param name="weights">Of the model.</param>
    /// <param name="wish">What is wanted of its memory.</param>
    /// <param name="options">How the hot path runs.</param>
    /// <exception cref="CudaException">There is no such GPU, it is too old, or the model does not suit or fit it.</exception>
    public CudaBackend(in DriverTable driver, int ordinal, ModelWeights weights, MemoryWish wish, CudaHotPathOptions options)
    {
        if (KernelSet.Objection(weights.Shape) is { } objection)
        {
            throw new CudaException($"The GPU's kernels do not suit this model: {objection}. Run it on the CPU.");
        }

        using var callers = new CallersContext(driver);
        _context = new CudaContext(driver, ordinal, options.Patience);
        try
        {
            (Plan, HotPath) = Make(weights, wish, options);
        }
        catch
        {
            _context.Dispose();
            throw;
        }
    }

    public CudaHotPath HotPath { get; }

    public MemoryPlan Plan { get; }

    public int Ordinal => _context.Ordinal;

    /// <summary>Whether its memory is the CPU's.</summary>
    public bool SharesMemory => _context.SharesMemory;

    /// <summary>The GPU in few words.</summary>
    public string Name => $"GPU {_context.Ordinal} ({_context.Name})";

    /// <summary>The GPU, for a user.</summary>
    public string Description =>
        $"GPU {_context.Ordinal}: {_context.Name}, compute capability {_context.ComputeCapability.Major}.{_context.ComputeCapability.Minor}, CUDA {CudaContext.VersionText(_context.DriverVersion)}";

    /// <summary>After a call that failed; see <see cref="CudaHotPath.Settle"/>.</summary>
    public bool Settle() => HotPath.Settle();

    /// <summary>For passes on a thread of the application, which has its own context again when this is disposed of. May outlive the GPU.</summary>
    public CallersContext KeepCallersContext() => new(_context.Driver);

    public void Dispose()
    {
        using CallersContext callers = KeepCallersContext();
        HotPath.Dispose();
        _context.Dispose();
    }

    /// <summary>
    /// What may be refused before any weight is copied, and what is done without then. Page-locked memory is the system's to give, and no plan knows how much of it
    /// there is, though some drivers charge it to the GPU and plans leave room for it there: the ring that routed experts pass through is given up, then tokens of a step, which most of it is for, then experts that stay. And while kernels are translated, which takes seconds the first time, a display or another program may
    /// take memory that was free: the plan is made again with less.
    /// </summary>
    private (MemoryPlan Plan, CudaHotPath HotPath) Make(ModelWeights weights, MemoryWish wish, CudaHotPathOptions options)
    {
        (int refusals, long most) = (0, long.MaxValue);
        wish = wish with { ChargesLocked = options.DriverCollects };
        wish = _context.SharesMemory ? wish.OfSharedMemory(weights.Shape, _context.FreeBytes(options.SystemBytes)) : wish;
        while (true)
        {
            // Whoever was warned may have left the thread another one.
            _context.SetCurrent();

            // Where the GPU shares the system's memory, the driver's own number comes last: it may give no more, whatever the system would.
            long free = Math.Min(refusals == MostRefusals ? _context.MemoryInfo().Free : _context.FreeBytes(options.SystemBytes), most);
            MemoryPlan plan = MemoryPlan.Fit(weights, wish, free);
            try
            {
                return (plan, new CudaHotPath(_context, weights, plan, options));
            }
            catch (CudaException e) when (e is { Call: "cuMemHostAlloc" } and not GpuLostException && WithLessLocked(wish, plan) is not null)
            {
                (wish, string less) = WithLessLocked(wish, plan)!.Value;

                // Where it counts there, it may be the GPU's memory that lacks.
                most = wish.ChargesLocked ? free - (free / RefusedShare) : most;
                string helps = wish.ChargesLocked ? "A lower KvCacheBytes helps, since it counts against the GPU's memory here, or more free main memory" : "More free main memory helps";
                options.Warn?.Invoke($"{less}: the system refused page-locked memory ({e.Call} failed with CUDA error {(int)e.Result}). {helps}.");
            }
            catch (CudaException e) when (e.Result.IsWantOfMemory(e.Call) && (e.Call == "cuMemAlloc" || wish.ChargesLocked) && refusals < MostRefusals)
            {
                refusals++;
                most = free - (free / RefusedShare);
                options.Warn?.Invoke(string.Create(CultureInfo.InvariantCulture, $"The GPU refused memory of which {free >> 20:N0} MiB had been free. Its memory is divided again, as if there were {most >> 20:N0} MiB at most."));
            }
        }
    }

    /// <summary>The wish that takes less page-locked memory than a plan that was refused it, and what is given up; null where all else is needed.</summary>
    private static (MemoryWish Wish, string Less)? WithLessLocked(MemoryWish wish, MemoryPlan plan)
    {
        int rows = Math.Max(wish.LeastRows, plan.MaxRows / 2);
        return plan.RingSlots > 0 ? (wish with { StreamExperts = false }, "No routed experts pass through the GPU in prompts")
            : rows < plan.MaxRows ? (wish.OfRows(rows), string.Create(CultureInfo.InvariantCulture, $"Steps have at most {rows:N0} tokens"))
            : plan.ExpertBytes > 0 ? (wish with { ExpertBytes = 0 }, "No routed experts are on the GPU")
            : null;
    }
}
