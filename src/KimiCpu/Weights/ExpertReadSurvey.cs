// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Weights;

/// <summary>A number that every expert has.</summary>
internal readonly record struct Spread(long Least, double Mean, long Most);

/// <summary>What it costs to read a routed expert from the files as it lies there.</summary>
/// <param name="Experts">Of all layers.</param>
/// <param name="Reads">Reads that bring an expert in.</param>
/// <param name="Bytes">Bytes of those reads.</param>
/// <param name="Needed">Bytes of an expert's tensors, in the mean.</param>
/// <param name="Aligned">Experts whose first byte lies where a read may begin.</param>
internal sealed record ExpertReadSurvey(int Experts, Spread Reads, Spread Bytes, double Needed, int Aligned)
{
    /// <summary>What an expert costs in bytes, where a read of nothing costs as much as <see cref="ExpertLayout.LargestGap"/> more bytes.</summary>
    public double Cost => Bytes.Mean + (Reads.Mean * ExpertLayout.LargestGap);

    /// <summary>Share of the bytes that is read for nothing.</summary>
    public double Waste => Bytes.Mean > 0 ? 1 - (Needed / Bytes.Mean) : 0;

    /// <param name="checkpoint">Only its headers are used.</param>
    /// <param name="moved">Where each tensor lies instead, by its name in the files; null for where it lies.</param>
    /// <exception cref="CheckpointException">An expert's tensor is missing or does not match the configuration.</exception>
    public static ExpertReadSurvey Of(Checkpoint checkpoint, Func<string, TensorEntry>? moved = null)
    {
        using CheckpointWeightFiles files = CheckpointWeightFiles.Open(checkpoint);
        ExpertFiles experts = ExpertPlaces.Of(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), files);
        var reads = new List<long>();
        var bytes = new List<long>();
        long needed = 0;
        int aligned = 0;
        for (int layer = 0; layer < experts.LayerCount; layer++)
        {
            for (int expert = 0; expert < experts.ExpertsOf(layer); expert++)
            {
                TensorPlace[] places = Places(experts, layer, expert, moved);
                var layout = new ExpertLayout(places);
                reads.Add(layout.Reads.Count);
                bytes.Add(layout.SlotBytes);
                needed += places.Sum(p => p.Length);
                aligned += places.Where(p => p.Length > 0).MinBy(p => (p.File, p.Offset)).Offset % IWeightFiles.Alignment == 0 ? 1 : 0;
            }
        }

        return new ExpertReadSurvey(reads.Count, SpreadOf(reads), SpreadOf(bytes), needed / (double)Math.Max(1, reads.Count), aligned);
    }

    private static TensorPlace[] Places(ExpertFiles experts, int layer, int expert, Func<string, TensorEntry>? moved)
    {
        TensorPlace[] places = experts.Of(layer, expert).ToArray();
        for (int part = 0; moved is not null && part < places.Length; part++)
        {
            if (places[part].Length > 0)
            {
                TensorEntry place = moved(experts.NameOf(layer, expert, part));
                places[part] = new TensorPlace(place.Shard, place.Offset, place.Length);
            }
        }

        return places;
    }

    private static Spread SpreadOf(List<long> values) => values.Count == 0 ? default : new Spread(values.Min(), values.Average(), values.Max());
}

/// <summary>What repacking a checkpoint would change.</summary>
/// <param name="Now">As it lies there.</param>
/// <param name="After">As it would lie.</param>
internal sealed record RepackGain(ExpertReadSurvey Now, ExpertReadSurvey After)
{
    /// <summary>A checkpoint of hundreds of shards has a few experts that are divided between two of them.</summary>
    private const double FewReads = 2.1;

    private const double LittleWaste = 0.02;

    /// <summary>Share of the time for reading experts that repacking saves, about, on a drive where reads cost what <see cref="ExpertReadSurvey.Cost"/> says.</summary>
    public double Saving => Now.Cost > 0 ? 1 - (After.Cost / Now.Cost) : 0;

    /// <summary>Whether an expert takes more than one or two reads now, or brings in much that nobody needs and repacking avoids.</summary>
    public bool IsWorthwhile => Now.Experts > 0 && (Now.Reads.Mean > FewReads || Now.Waste - After.Waste > LittleWaste);

    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="plan">Made for it.</param>
    public static RepackGain Of(string folder, RepackPlan plan)
    {
        using Checkpoint checkpoint = Checkpoint.Open(folder);
        return new RepackGain(ExpertReadSurvey.Of(checkpoint), ExpertReadSurvey.Of(checkpoint, plan.PlaceOf));
    }
}
