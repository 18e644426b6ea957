// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Planning;

/// <summary>Decoding behind a context: with flat routing, with hits as they are usually seen, and with the best seen.</summary>
internal sealed record DecodeRange(int Context, DecodeTime Low, DecodeTime Likely, DecodeTime High);

/// <summary>A change of the machine and what it brings.</summary>
/// <param name="Name">What is changed.</param>
/// <param name="Plan">With the change.</param>
/// <param name="DecodeGain">Factor on the likely tokens per second.</param>
/// <param name="PromptGain">Factor by which the first token of <see cref="MachinePlan.UpgradePrompt"/> tokens comes sooner.</param>
internal sealed record PlanUpgrade(string Name, MachinePlan Plan, double DecodeGain, double PromptGain);

/// <summary>What a model would do on a machine: pure arithmetic on what is known of both.</summary>
internal sealed class MachinePlan
{
    public const int UpgradePrompt = 4096;
    public const int DefaultContext = 32_768;
    private const int ShortContext = 1024;

    private readonly bool _int8HotPath;
    private readonly SpeedParameters _parameters;

    /// <param name="subject">The model.</param>
    /// <param name="machine">Where it is to run.</param>
    /// <param name="contextLength">Tokens that there is to be room for; no more than the model can take.</param>
    /// <param name="int8HotPath">Whether weights that every token needs are copied to 8 bits in main memory.</param>
    /// <param name="parameters">Null for the defaults.</param>
    public MachinePlan(PlanSubject subject, PlanMachine machine, int contextLength, bool int8HotPath = false, SpeedParameters? parameters = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(contextLength, 1);
        _int8HotPath = int8HotPath;
        _parameters = parameters ?? SpeedParameters.Default;
        (Subject, Machine, ContextLength) = (subject, machine, Math.Min(contextLength, subject.Config.MaxPositions));
        Placement = PlacementPlanner.Place(subject, machine, ContextLength, int8HotPath, _parameters);
        Speed = new SpeedModel(subject, machine, Placement, _parameters);
        Prompts = new PromptModel(subject, machine, Placement, _parameters);
    }

    public PlanSubject Subject { get; }

    public PlanMachine Machine { get; }

    public int ContextLength { get; }

    public Placement Placement { get; }

    public SpeedModel Speed { get; }

    public PromptModel Prompts { get; }

    public bool Fits => Placement.Problem is null;

    /// <summary>Behind a short context, and behind a full one where that is longer.</summary>
    public IEnumerable<DecodeRange> Decodes => new[] { Math.Min(ShortContext, ContextLength), ContextLength }.Distinct().Select(Decode);

    /// <summary>Behind a short context.</summary>
    public DecodeRange Headline => Decodes.First();

    public DecodeRange Decode(int context) => new(
        context,
        Speed.Decode(context, _parameters.HitBonus.Low),
        Speed.Decode(context, _parameters.HitBonus.Likely),
        Speed.Decode(context, _parameters.HitBonus.High));

    /// <summary>The same model and settings on another machine.</summary>
    public MachinePlan On(PlanMachine machine) => new(Subject, machine, ContextLength, _int8HotPath, _parameters);

    /// <summary>The first pass from the drive into memory: every byte of the checkpoint once, as far as memory holds it.</summary>
    public double FirstReadSeconds => Machine.SecondsToFill(Subject.Summary.Bytes - Placement.BytesIn(PlanPlace.Drive)) / _parameters.DriveEfficiency;

    /// <summary>Changes that a workstation's owner can make, the one that brings decoding most first; those that change nothing are left out.</summary>
    public IReadOnlyList<PlanUpgrade> Upgrades()
    {
        const double NoticeableGain = 1.01;
        return
        [
            .. UpgradedMachines()
                .Select(u => Compare(u.Name, On(u.Machine)))
                .Where(u => u.Plan.Fits && (u.DecodeGain >= NoticeableGain || u.PromptGain >= NoticeableGain))
                .OrderByDescending(u => u.DecodeGain)
                .ThenByDescending(u => u.PromptGain),
        ];
    }

    private PlanUpgrade Compare(string name, MachinePlan other)
    {
        int prompt = Math.Min(UpgradePrompt, ContextLength);
        return new PlanUpgrade(
            name,
            other,
            Fits ? other.Headline.Likely.TokensPerSecond / Headline.Likely.TokensPerSecond : double.PositiveInfinity,
            Fits ? Prompts.Time(prompt).Seconds / other.Prompts.Time(prompt).Seconds : double.PositiveInfinity);
    }

    private IEnumerable<(string Name, PlanMachine Machine)> UpgradedMachines()
    {
        const double CardBytesPerSecond = 1e12;
        const double LinkBytesPerSecond = 25e9;
        PlanMachine m = Machine;
        yield return ("twice the memory", m with { MemoryBytes = Twice(m.MemoryBytes) });
        yield return ("twice the memory's bandwidth", m with { MemoryBytesPerSecond = Twice(m.MemoryBytesPerSecond) });
        yield return ("twice the cores", m with { Cores = Twice(m.Cores) });
        if (m.Drives.MaxBy(d => d.BytesPerSecond.Value) is { } best)
        {
            PlanMachine more = (m with { Drives = [.. m.Drives, best with { Count = 1 }] }).Striped();
            yield return (StripedName(m), m.Striped());
            yield return ($"one more drive like the fastest, {(more.StripedDrives == more.DriveCount ? "all" : $"the {more.StripedDrives} fastest")} striped", more);
        }

        yield return m.Gpu is null
            ? ("a GPU of 24 GB (estimate)", m with { Gpu = new PlanGpu(24L << 30, Fact.Assumed(CardBytesPerSecond), Fact.Assumed(LinkBytesPerSecond)) })
            : ("a GPU of twice the memory (estimate)", m with { Gpu = m.Gpu with { Bytes = 2 * m.Gpu.Bytes } });
    }

    private static string StripedName(PlanMachine machine) =>
        machine.StripedDrives == machine.DriveCount ? "these drives striped to one volume"
        : machine.StripedDrives == 1 ? "all files on the fastest drive"
        : $"the {machine.StripedDrives} fastest drives striped to one volume";

    private static Fact Twice(Fact fact) => Fact.Assumed(2 * fact.Value);
}
