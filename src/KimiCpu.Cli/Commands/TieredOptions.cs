// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Commands;

/// <summary>The options of <c>kimi bench --expert-memory</c>.</summary>
internal sealed class TieredOptions
{
    public Option<string?> Switch { get; } = new("--expert-memory") { Description = "Decode with experts in slots of this memory, the others from the drive, and with plain mapping; several sizes separated by commas. Use --shape k2-experts.", HelpName = "SIZE,SIZE" };

    private readonly Option<string?> _limit = new("--memory-limit") { Description = "With --expert-memory: memory for the whole process, page cache included, 500MB or more, by a control group (Linux).", HelpName = "SIZE" };

    private readonly Option<bool> _noMapping = new("--no-mapping") { Description = "With --expert-memory: leave plain mapping out." };

    private readonly Option<string> _policy = new("--policy") { Description = $"With --expert-memory: which expert gives way ({string.Join(", ", EvictionPolicies.Names)}).", DefaultValueFactory = _ => EvictionPolicies.Default, HelpName = "NAME" };

    private readonly Option<int> _warmUp = new Option<int>("--warm-up") { Description = "With --expert-memory: tokens before the measured ones.", DefaultValueFactory = _ => 40, HelpName = "N" }.Within(0);

    private readonly Option<int> _prompt = new Option<int>("--prompt") { Description = "With --expert-memory: then read a prompt of so many tokens in one pass, 0 … 256.", HelpName = "N" }.Within(0, 256);

    private readonly Option<int> _reads = new Option<int>("--reads") { Description = "With --expert-memory: reads in flight.", DefaultValueFactory = _ => new TieredStoreOptions { Bytes = 0 }.ReadsOfDrive, HelpName = "N" }.Within(1, 256);

    private readonly Option<string> _piece = new("--read-size") { Description = "With --expert-memory: most bytes of a read.", DefaultValueFactory = _ => $"{new TieredStoreOptions { Bytes = 0 }.PieceBytes >> 20}MiB", HelpName = "SIZE" };

    private readonly Option<double?> _skew = new("--skew") { Description = "With --expert-memory: impose a Zipf law with this exponent on the choice of experts, 0 for a flat one. Default: what the routers choose.", HelpName = "S" };

    private readonly Option<double> _recall = new("--recall") { Description = "With --skew: part of a layer's experts that look-ahead predicts, as measured on real models; 0 switches look-ahead off.", DefaultValueFactory = _ => 0.72, HelpName = "R" };

    private readonly Option<string?> _timeline = new("--timeline") { Description = "With --expert-memory: draw reads, computing and waiting of the last size, as SVG.", HelpName = "FILE" };

    /// <summary>Of a process without a model, more or less: the system ends who is held to less, and says nothing.</summary>
    private const double LeastLimit = 500e6;

    /// <summary>Those that need the switch.</summary>
    public Option[] Others => [_limit, _noMapping, _policy, _warmUp, _prompt, _reads, _piece, _skew, _recall, _timeline];

    public void AddTo(Command command)
    {
        command.Add(Switch);
        foreach (Option option in Others)
        {
            command.Add(option);
        }
    }

    /// <summary>What the options ask for, before anything is written or opened for it; null without the switch.</summary>
    /// <exception cref="FormatException">One of them is none of what it takes, or does nothing.</exception>
    /// <exception cref="IOException">The timeline cannot be written.</exception>
    public TieredRuns? Read(ParseResult parsed, CpuBackendOptions cpu, int tokens)
    {
        if (parsed.GetValue(Switch) is not { } sizes)
        {
            return null;
        }

        if (parsed.GetValue(_timeline) is { } place)
        {
            OutputFile.CheckPlace(_timeline.Name, place);
        }

        return new TieredRuns
        {
            SlotBytes = [.. sizes.Split(',').Select(s => (long)Quantity.Bytes(Switch.Name, s))],
            Limit = parsed.GetValue(_limit) is { } limit ? ReadLimit(limit) : null,
            Mapped = !parsed.GetValue(_noMapping),
            Timeline = parsed.GetValue(_timeline),
            How = How(parsed, cpu, tokens),
        };
    }

    private long ReadLimit(string text) => Quantity.Bytes(_limit.Name, text) is >= LeastLimit and var bytes
        ? (long)bytes
        : throw new FormatException($"{_limit.Name} takes {LeastLimit / 1e6} MB or more, since the whole process has to fit; found '{text}'.");

    private TieredBenchOptions How(ParseResult parsed, CpuBackendOptions cpu, int tokens)
    {
        const int Unit = KimiCpu.Compute.IWeightFiles.Alignment;
        double? skew = parsed.GetValue(_skew) is { } exponent ? InRange(_skew.Name, exponent, 0, 10) : null;
        double recall = InRange(_recall.Name, parsed.GetValue(_recall), 0, 1);
        if (skew is null && recall > 0 && parsed.GetResult(_recall) is { Implicit: false })
        {
            throw new FormatException($"{_recall.Name} above 0 needs {_skew.Name}: without it look-ahead predicts what the model's own routers let it. 0 switches it off.");
        }

        string policy = parsed.GetValue(_policy)!;
        _ = EvictionPolicies.Make(policy, layers: 1, expertsPerLayer: 1);
        return new TieredBenchOptions
        {
            Cpu = cpu,
            Policy = policy,
            WarmUp = parsed.GetValue(_warmUp),
            Tokens = tokens,
            PromptTokens = parsed.GetValue(_prompt),
            Reads = parsed.GetValue(_reads),
            RoutingSkew = skew,
            Recall = recall,
            PieceBytes = (int)Math.Clamp(Quantity.Bytes(_piece.Name, parsed.GetValue(_piece)!) / Unit, 1, (1 << 30) / Unit) * Unit,
        };
    }

    private static double InRange(string option, double value, double least, double most) => value >= least && value <= most
        ? value
        : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"{option} takes {least} … {most}; found {value}."));
}
