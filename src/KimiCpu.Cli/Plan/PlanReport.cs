// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Cli.Terminal;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Plan;

/// <summary>A plan as text.</summary>
internal sealed class PlanReport(CliStreams streams, MachinePlan plan)
{
    /// <summary>Prompt lengths to show the time to the first token for.</summary>
    public static readonly int[] PromptLengths = [128, 1024, 4096, 16_384];

    private readonly TextWriter _out = streams.Output;

    /// <param name="cost">Null without prices.</param>
    public void Write(RunningCost? cost)
    {
        PlanSubject subject = plan.Subject;
        _out.WriteLine($"{subject.Name}, {PlanWords.Gigabytes(subject.Summary.Bytes)}{(subject.Folder is null && subject.Name != KnownModels.Nano ? " (from its known shape; no files read)" : "")}, room for {PlanWords.Tokens(plan.ContextLength)} tokens");
        _out.WriteLine();
        WriteMachine();
        WriteDrives();
        _out.WriteLine();
        WritePlaces();
        _out.WriteLine();
        if (plan.Placement.GpuNote is { } note)
        {
            _out.WriteLine(note);
            _out.WriteLine();
        }

        if (plan.Placement.Problem is { } problem)
        {
            _out.WriteLine(problem);
        }
        else
        {
            WriteSpeed();
        }

        WriteUpgrades();
        if (plan.Fits && cost is not null)
        {
            WriteCost(cost);
        }
    }

    private void WriteMachine()
    {
        PlanMachine m = plan.Machine;
        List<string[]> rows =
        [
            ["memory", PlanWords.Gigabytes(m.MemoryBytes.Value), Origin(m.MemoryBytes, m.MemoryLimit)],
            ["its read bandwidth", PlanWords.GigabytesPerSecond(m.MemoryBytesPerSecond.Value), Origin(m.MemoryBytesPerSecond)],
            ["cores", m.Cores.Value.ToString(CultureInfo.InvariantCulture), Origin(m.Cores)],
            ["arithmetic of a core", string.Create(CultureInfo.InvariantCulture, $"{m.OperationsPerSecondPerCore.Value / 1e9:F0} GFLOP/s"), string.Create(CultureInfo.InvariantCulture, $"{PlanWords.Of(m.OperationsPerSecondPerCore.Origin)}, single precision; int8 x{m.ByteOperationsFactor:0.#}, BF16 x{m.BFloat16OperationsFactor} with the kernels that run here")],
        ];
        rows.AddRange(m.Drives.Select(d => new[]
        {
            $"drive {d.Name}",
            (d.Count > 1 ? $"{d.Count} x " : "") + PlanWords.GigabytesPerSecond(d.BytesPerSecond.Value),
            d.BytesPerSecond.Origin == FactOrigin.Assumed ? Origin(d.BytesPerSecond, "no checkpoint files to read here; --nvme gives it")
                : Origin(d.BytesPerSecond, "large random reads") + (m.Drives.Count > 1 && d.LayerShares is { } shares ? $", {PlanWords.Percent(shares.Average())} of the routed experts" : ""),
        }));
        if (m.Gpu is { } gpu)
        {
            rows.Add(["GPU", string.Create(CultureInfo.InvariantCulture, $"{gpu.Bytes / (double)(1 << 30):0.#} GiB"), PlanWords.GpuState]);
            rows.Add(["its bandwidth", PlanWords.GigabytesPerSecond(gpu.BytesPerSecond.Value), Origin(gpu.BytesPerSecond)]);
            rows.Add(["link to it", PlanWords.GigabytesPerSecond(gpu.LinkBytesPerSecond.Value), Origin(gpu.LinkBytesPerSecond)]);
        }

        TextTable.Write(streams, ["machine", ">", ""], rows);
    }

    /// <summary>What drives that hold different layers bring together.</summary>
    private void WriteDrives()
    {
        const double Noticeable = 0.99;
        PlanMachine m = plan.Machine;
        (double together, double striped) = (m.ExpertBytesPerSecond, m.StripedBytesPerSecond);
        if (together < Noticeable * striped)
        {
            string better = m.StripedDrives == 1 ? "All files on the fastest of them would have that; a volume that is striped (RAID 0) is no faster, since its slowest drive holds up the others"
                : $"A volume that is striped over {(m.StripedDrives == m.DriveCount ? "all of them" : $"the {m.StripedDrives} fastest")} (RAID 0) has that";
            _out.WriteLine($"Experts come at {PlanWords.GigabytesPerSecond(together)} from these drives, not at {PlanWords.GigabytesPerSecond(striped)}: a layer's lie on one of them, mostly, and layers are read one after another. {better}.");
        }
    }

    private void WritePlaces()
    {
        Placement p = plan.Placement;
        double routed = plan.Subject.RoutedBytes;
        IEnumerable<string[]> rows = p.Parts.OrderBy(part => part.Place).Select(part => new[]
        {
            PlanWords.Of(part.Place),
            part.Name + (part.Name == "routed experts" && part.Bytes < routed ? $", {PlanWords.Percent(part.Bytes / routed)} of them" : ""),
            PlanWords.Gigabytes(part.Bytes),
            part.Format,
        });
        rows = rows.Append(["RAM", "left to the system", PlanWords.Gigabytes(p.ReserveBytes), ""]);
        rows = rows.Append(["RAM", p.MemoryLeft < 0 ? "missing" : "free", PlanWords.Gigabytes(Math.Abs(p.MemoryLeft)), ""]);
        if (p.UsesGpu)
        {
            rows = rows.Append(["GPU", "free", PlanWords.Gigabytes(p.GpuLeft), ""]);
        }

        TextTable.Write(streams, ["where", "what", ">bytes", "precision"], rows);
    }

    private void WriteSpeed()
    {
        bool tiered = plan.Placement.ResidentShare < 1;
        TextTable.Write(
            streams,
            ["decoding, tokens/s", ">low", ">likely", ">high", "decided by", ""],
            plan.Decodes.Select(d => new[]
            {
                $"behind {PlanWords.Tokens(d.Context)} tokens",
                PlanWords.Rate(d.Low.TokensPerSecond),
                PlanWords.Rate(d.Likely.TokensPerSecond),
                PlanWords.Rate(d.High.TokensPerSecond),
                PlanWords.Of(d.Likely.Bound),
                tiered ? $"{PlanWords.Percent(d.Low.HitRate)}, {PlanWords.Percent(d.Likely.HitRate)}, {PlanWords.Percent(d.High.HitRate)} of the experts found in memory" : "all experts in memory",
            }));
        _out.WriteLine();
        TextTable.Write(
            streams,
            ["prompt", ">first token after", ">tokens/s", "decided by"],
            Prompts(plan).Select(t => new[] { $"{PlanWords.Tokens(t.Tokens)} tokens", PlanWords.Duration(t.Seconds), PlanWords.Rate(t.TokensPerSecond), PlanWords.Of(t.Bound) }));
        if (tiered)
        {
            _out.WriteLine($"Experts are read once for each {PlanWords.Tokens(plan.Placement.PrefillChunk)} tokens of a prompt.");
        }

        if (plan.Subject.Folder is not null || plan.Subject.Name != KnownModels.Nano)
        {
            _out.WriteLine();
            _out.WriteLine($"After a start, memory fills in about {PlanWords.Duration(plan.FirstReadSeconds)}; until then answers are slower.");
        }
    }

    /// <summary>Prompts that the context has room for.</summary>
    public static IEnumerable<PromptTime> Prompts(MachinePlan plan) => PromptLengths.Where(n => n <= plan.ContextLength).Select(plan.Prompts.Time);

    private void WriteUpgrades()
    {
        IReadOnlyList<PlanUpgrade> upgrades = plan.Upgrades();
        _out.WriteLine();
        if (upgrades.Count == 0)
        {
            _out.WriteLine(plan.Fits ? "No single upgrade changes these numbers by more than 1%." : "No single upgrade makes it fit.");
            return;
        }

        string prompt = PlanWords.Tokens(Math.Min(MachinePlan.UpgradePrompt, plan.ContextLength));
        TextTable.Write(
            streams,
            ["upgrade, best first", ">tokens/s", ">gain", $">first token of {prompt}", ">gain"],
            upgrades.Select(u => new[]
            {
                u.Name,
                PlanWords.Rate(u.Plan.Headline.Likely.TokensPerSecond),
                PlanWords.Factor(u.DecodeGain),
                PlanWords.Duration(u.Plan.Prompts.Time(Math.Min(MachinePlan.UpgradePrompt, plan.ContextLength)).Seconds),
                PlanWords.Factor(u.PromptGain),
            }));
    }

    private void WriteCost(RunningCost cost)
    {
        DecodeRange range = plan.Headline;
        double likely = range.Likely.TokensPerSecond;
        double each = cost.PerMillion(likely);
        _out.WriteLine();
        _out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"A million output tokens takes {PlanWords.Duration(RunningCost.SecondsPerMillion(likely))} and, at {cost.Watts:0.#} W and {cost.PricePerKilowattHour} per kWh, {PlanWords.Money(each)} of electricity ({PlanWords.Money(cost.PerMillion(range.High.TokensPerSecond))} … {PlanWords.Money(cost.PerMillion(range.Low.TokensPerSecond))}); the machine's price is not in it."));
        if (cost is { ApiPrice: { } api, BreakEvenTokensPerSecond: { } breakEven })
        {
            string compared = each > api ? $"Running it costs {each / api:0.#} times the API's {PlanWords.Money(api)}" : $"Running it costs {PlanWords.Percent(each / api)} of the API's {PlanWords.Money(api)}";
            _out.WriteLine($"{compared}. Electricity alone breaks even at {PlanWords.Rate(breakEven)} tokens/s; {(likely >= breakEven ? "this machine is above that" : "this machine is below that")}.");
        }
    }

    private static string Origin(Fact fact, string detail = "") => detail.Length > 0 && fact.Origin != FactOrigin.Given ? $"{PlanWords.Of(fact.Origin)}, {detail}" : PlanWords.Of(fact.Origin);
}
