// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Cpu;
using KimiCpu.Weights;

namespace KimiCpu.Planning;

/// <summary>Divides a model among a machine's memories: what every token needs first, then the context, then as many experts as fit.</summary>
internal static class PlacementPlanner
{
    /// <summary>Fewest experts in memory, in those that a layer uses for a token: the ones at work and the next ones.</summary>
    private const int LeastLayers = 2;

    /// <summary>Part of what a GPU has to spare that experts may take; the rest is the cache's.</summary>
    private const double SpareForExperts = 0.5;

    /// <param name="subject">The model.</param>
    /// <param name="machine">To fill.</param>
    /// <param name="contextLength">Tokens that the cache is to hold.</param>
    /// <param name="int8HotPath">Whether weights that every token needs are copied to 8 bits, in main memory or on the GPU.</param>
    /// <param name="parameters">For reserves and buffers.</param>
    public static Placement Place(PlanSubject subject, PlanMachine machine, int contextLength, bool int8HotPath, SpeedParameters parameters) =>
        Place(subject, machine, contextLength, int8HotPath, parameters, fromDrives: false) ?? Place(subject, machine, contextLength, int8HotPath, parameters, fromDrives: true)!;

    /// <returns>Null where the experts are to be in memory and do not fit.</returns>
    private static Placement? Place(PlanSubject subject, PlanMachine machine, int contextLength, bool int8HotPath, SpeedParameters parameters, bool fromDrives)
    {
        // Large passes where experts come from elsewhere or pass through a GPU, as KimiModelOptions.PrefillChunk has them.
        long memory = (long)machine.MemoryBytes.Value;
        var workspace = new StepWorkspace(WeightLoader.ShapeOf(subject.Config), (int)machine.Cores.Value);
        int large = ModelMemory.LargeChunk(memory, workspace);
        int inMemory = ModelMemory.ChunkInMemory(subject.Config.RoutedExpertCount, subject.Config.ExpertsPerToken, large);
        int chunk = fromDrives ? large : ModelMemory.UsualChunk;
        List<PlacedPart> parts = [];
        GpuPlan? gpu = null;
        double gpuLeft = 0;
        string? note = null;
        if (machine.Gpu is { } card)
        {
            gpuLeft = (card.Bytes * parameters.GpuReportedShare) - parameters.GpuReserveBytes;
            (gpu, chunk) = GpuPlan.FitSteps(subject, contextLength, int8HotPath, gpuLeft, chunk);
            if (gpu is not null && !fromDrives)
            {
                double left = gpuLeft - gpu.Bytes;
                chunk = LargerChunk(subject, left, RingBytes(subject, left, parameters) > 0 ? large : inMemory);
                gpu = GpuPlan.Fit(subject, contextLength, int8HotPath, gpuLeft, chunk)!;
            }

            if (gpu is null)
            {
                note = string.Create(CultureInfo.InvariantCulture, $"The GPU stays unused: what every token needs takes {GpuPlan.Smallest(subject, contextLength, chunk).Bytes / 1e9:F1} GB there in 8 bits with this context, and {Math.Max(0, gpuLeft) / 1e9:F1} GB can be had. A shorter context or a larger card helps.");
            }
            else
            {
                parts.AddRange(gpu.Parts);
                gpuLeft -= gpu.Bytes;
            }
        }

        if (gpu is null)
        {
            chunk = fromDrives ? large : inMemory;
        }

        (bool ring, double gpuShare) = UseRestOfGpu(subject, gpu is null ? 0 : gpuLeft, parameters, parts);
        parts.AddRange(InMemory(subject, contextLength, int8HotPath, gpu is not null));
        double inVain = fromDrives ? HotPathMemory.LetGo(subject.Summary, subject.Config, int8HotPath, gpu is not null) - machine.PromisableBeyondBytes : 0;
        if (inVain > 0)
        {
            parts.Add(new PlacedPart(InVainName, PlanPlace.Memory, inVain, "", null));
        }

        double reserve = ExpertMemoryPlan.ReserveOf(memory);
        double room = memory - reserve - parts.Where(p => p.Place == PlanPlace.Memory).Sum(p => p.Bytes);
        double wanted = subject.RoutedBytes * (1 - gpuShare);
        if (!fromDrives && room - workspace.Bytes(large) < wanted)
        {
            return null;
        }

        parts.Add(new PlacedPart("activations", PlanPlace.Memory, workspace.Bytes(chunk), "", null));
        room -= workspace.Bytes(chunk);

        // A mapped expert takes its bytes, one that is read a slot, as TieredExpertStore has them.
        double slot = SlotMemory.BytesOfSlot((long)Math.Ceiling(subject.ExpertBytes) + (2 * DirectFile.Alignment));
        double resident = Math.Clamp(fromDrives ? Math.Floor(room / slot) * subject.ExpertBytes : room, 0, wanted);
        double rounding = fromDrives && resident > 0 ? resident * ((slot / subject.ExpertBytes) - 1) : 0;
        double least = Math.Min(wanted, LeastLayers * subject.Config.ExpertsPerToken * subject.ExpertBytes);
        AddExperts(parts, subject, resident, wanted - resident);
        if (rounding > 0)
        {
            parts.Add(new PlacedPart("rounding of slots", PlanPlace.Memory, rounding, "", null));
        }

        return new Placement
        {
            Parts = parts,
            ContextLength = contextLength,
            PrefillChunk = chunk,
            ReserveBytes = reserve,
            MemoryLeft = room < least ? room - least : room - resident - rounding,
            GpuLeft = gpu is null ? 0 : gpuLeft - parts.Where(p => p is { Place: PlanPlace.Gpu, Name: RingName or ExpertsName }).Sum(p => p.Bytes),
            UsesGpu = gpu is not null,
            GpuHasRing = ring,
            MemoryShare = subject.RoutedBytes == 0 ? 1 : resident / subject.RoutedBytes,
            GpuShare = gpuShare,
            GpuNote = note,
            Problem = room < least ? Missing(machine, reserve, parts, least, Remedies(subject, machine, int8HotPath, gpu is not null)) : null,
        };
    }

    public static string NameOf(Component component) => component switch
    {
        Component.Embedding => "embedding",
        Component.Attention => "attention",
        Component.DenseMlp => "dense layers",
        Component.Router => "routers",
        Component.SharedExperts => "shared experts",
        Component.RoutedExperts => ExpertsName,
        Component.Norms => "norms",
        _ => "head",
    };

    internal const string InVainName = "promised to weights let go";
    internal const string ExpertsName = "routed experts";
    internal const string RingName = "ring for streamed experts";

    /// <summary>First the buffers that let experts pass through, then experts that stay, as MemoryPlan of KimiCpu.Cuda decides.</summary>
    private static (bool Ring, double Share) UseRestOfGpu(PlanSubject subject, double left, SpeedParameters parameters, List<PlacedPart> parts)
    {
        if (!subject.ExpertsSuitGpu)
        {
            return (false, 0);
        }

        double ring = RingBytes(subject, left, parameters);
        if (ring > 0)
        {
            parts.Add(new PlacedPart(RingName, PlanPlace.Gpu, ring, "", null));
        }

        double bytes = Math.Min(subject.RoutedBytes, Math.Floor(((left * SpareForExperts) - ring) / subject.ExpertBytes) * subject.ExpertBytes);
        if (bytes > 0)
        {
            parts.Add(new PlacedPart(ExpertsName, PlanPlace.Gpu, bytes, Formats(subject), Component.RoutedExperts));
        }

        return (ring > 0, bytes / subject.RoutedBytes);
    }

    /// <summary>Of the buffers; 0 where they do not fit, or experts do not suit the GPU.</summary>
    private static double RingBytes(PlanSubject subject, double left, SpeedParameters parameters)
    {
        double ring = parameters.GpuRingExperts * subject.ExpertBytes;
        return subject.ExpertsSuitGpu && left * SpareForExperts >= ring ? ring : 0;
    }

    private static IEnumerable<PlacedPart> InMemory(PlanSubject subject, int contextLength, bool int8HotPath, bool onlyEmbedding)
    {
        foreach (HotPathPart part in HotPathMemory.Parts(subject.Summary, subject.Config, int8HotPath, onlyEmbedding))
        {
            yield return new PlacedPart(NameOf(part.Component.Component), PlanPlace.Memory, part.Bytes, part.IsCopied ? "8 bits" : string.Join(", ", part.Component.Formats), part.Component.Component);
        }

        if (!onlyEmbedding)
        {
            yield return new PlacedPart("KV cache", PlanPlace.Memory, (double)contextLength * subject.Summary.CacheBytesPerToken, "BF16", null);
        }
    }

    private static void AddExperts(List<PlacedPart> parts, PlanSubject subject, double resident, double missing)
    {
        if (resident > 0)
        {
            parts.Add(new PlacedPart(ExpertsName, PlanPlace.Memory, resident, Formats(subject), Component.RoutedExperts));
        }

        // Less than an expert is rounding.
        if (missing >= subject.ExpertBytes && missing > 0)
        {
            parts.Add(new PlacedPart(ExpertsName, PlanPlace.Drive, missing, Formats(subject), Component.RoutedExperts));
        }
    }

    /// <summary>A step as large as a quarter of what a GPU has to spare allows, as MemoryPlan of KimiCpu.Cuda decides.</summary>
    private static int LargerChunk(PlanSubject subject, double gpuLeft, int most)
    {
        int chunk = most;
        while (chunk > ModelMemory.UsualChunk && GpuPlan.LargerStepBytes(subject, chunk) > gpuLeft / 4)
        {
            chunk /= 2;
        }

        return Math.Max(chunk, ModelMemory.UsualChunk);
    }

    private static string Formats(PlanSubject subject) => string.Join(", ", subject.Summary.Components.First(c => c.Component == Component.RoutedExperts).Formats);

    private static string Missing(PlanMachine machine, double reserve, List<PlacedPart> parts, double least, string remedies)
    {
        double needed = parts.Where(p => p.Place == PlanPlace.Memory && p.Component != Component.RoutedExperts).Sum(p => p.Bytes) + reserve + least;
        double inVain = parts.Where(p => p.Name == InVainName).Sum(p => p.Bytes);
        string vain = inVain > 0 ? string.Create(CultureInfo.InvariantCulture, $" Of these the system goes on promising {inVain / 1e9:F1} GB to weights that are let go: a page file (Windows) or swap space (Linux) that is larger by so much needs none of them.") : "";
        return string.Create(CultureInfo.InvariantCulture, $"It does not fit: {needed / 1e9:F1} GB of memory are needed for what every token needs, the context, the fewest experts and the system; {machine.MemoryBytes.Value / 1e9:F1} GB can be used.{vain} {remedies} helps.");
    }

    /// <summary>What takes less main memory, or gives more. A GPU that is used has the context, and the weights whose bits could be fewer.</summary>
    private static string Remedies(PlanSubject subject, PlanMachine machine, bool int8HotPath, bool onGpu) =>
        onGpu ? "More memory"
        : !int8HotPath && HotPathMemory.CopiesHelp(subject.Summary, subject.Config, machine.PromisableBeyondBytes) ? "A shorter --context, --int8-hot-path or more memory"
        : "A shorter --context or more memory";
}
