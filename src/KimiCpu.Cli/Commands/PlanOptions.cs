// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Cli.Terminal;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Commands;

/// <summary>The machine and the prices, as options of <c>kimi plan</c>.</summary>
internal sealed class PlanOptions
{
    private const double UsualGpuBytesPerSecond = 1e12;
    private const double UsualLinkBytesPerSecond = 25e9;
    private const int MostCores = 1024;

    /// <summary>Watts, prices and rates below or beyond are mistakes, and what is made of them no numbers.</summary>
    private const double Least = 1e-9;
    private const double Most = 1e9;

    public Option<string?> Ram { get; } = new("--ram") { Description = "Memory that the process may use. GB is 10^9 bytes; modules sold as 256 GB have 256GiB. Default: what is available here.", HelpName = "SIZE" };

    public Option<string?> RamBandwidth { get; } = new("--ram-bandwidth") { Description = "Its read bandwidth. Default: measured here.", HelpName = "RATE" };

    public Option<string?> Nvme { get; } = new("--nvme") { Description = "Drives that hold the checkpoint, by their rate for large random reads: 7GB/s, or 2x7GB/s for a volume that is striped over two. Of drives of different speed as many of the fastest are taken as bring most so. Default: measured by reading DIR's files.", HelpName = "N×RATE" };

    public Option<string?> Gpu { get; } = new("--gpu") { Description = "Plan with a GPU of so much memory, such as 24GB (as cards are sold: GiB). Its figures are estimates, not measurements.", HelpName = "SIZE" };

    public Option<string?> GpuBandwidth { get; } = new("--gpu-bandwidth") { Description = "Of the GPU's memory. Default: 1TB/s.", HelpName = "RATE" };

    public Option<string?> Pcie { get; } = new("--pcie") { Description = "From memory to the GPU. Default: 25GB/s.", HelpName = "RATE" };

    public Option<int?> Cores { get; } = new("--cores") { Description = "Physical cores. Default: those here.", HelpName = "N" };

    public Option<double?> CoreGops { get; } = new("--core-gops") { Description = "Single-precision operations of a core, in 10^9 per second, a multiply-add counted as two. Default: measured here.", HelpName = "N" };

    public Option<string?> Context { get; } = new("--context") { Description = "Tokens of prompt and answer to have room for, such as 32K (the default) or 128K.", HelpName = "N" };

    public Option<bool> Int8HotPath { get; } = new("--int8-hot-path") { Description = "Plan with the weights that every token needs in 8 bits, in memory or on the GPU, as KimiModelOptions.Int8HotPath has them." };

    public Option<double?> Watts { get; } = new("--watts") { Description = "Of the whole machine while it decodes; with --price-per-kwh, for what a million tokens cost.", HelpName = "W" };

    public Option<double?> PricePerKilowattHour { get; } = new("--price-per-kwh") { Description = "Of electricity, in any currency.", HelpName = "PRICE" };

    public Option<double?> ApiPrice { get; } = new("--api-price") { Description = "Of a million output tokens elsewhere, in the same currency, to compare with.", HelpName = "PRICE" };

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { Ram, RamBandwidth, Nvme, Cores, CoreGops, Gpu, GpuBandwidth, Pcie, Context, Int8HotPath, Watts, PricePerKilowattHour, ApiPrice })
        {
            command.Add(option);
        }
    }

    /// <summary>What the options say of the machine.</summary>
    /// <exception cref="FormatException">One of them is none of what it takes.</exception>
    public MachineSketch Machine(ParseResult parsed) => new()
    {
        MemoryBytes = Read(parsed, Ram, Quantity.Bytes),
        MemoryBytesPerSecond = Read(parsed, RamBandwidth, Quantity.BytesPerSecond),
        Cores = parsed.GetValue(Cores) switch
        {
            < 1 or > MostCores => throw new FormatException($"--cores takes a number from 1 to {MostCores}; found {parsed.GetValue(Cores)}."),
            var cores => cores,
        },
        OperationsPerSecondPerCore = Positive(parsed, CoreGops) * 1e9,
        Drives = parsed.GetValue(Nvme) is { } drives
            ? [.. Quantity.Drives("--nvme", drives).Select(d => new PlanDrives("NVMe", d.Count, Fact.Given(d.BytesPerSecond)))]
            : null,
        Gpu = Card(parsed),
    };

    /// <summary>Null where it is not asked for.</summary>
    /// <exception cref="FormatException">It is no number of tokens.</exception>
    public int? ContextLength(ParseResult parsed) => parsed.GetValue(Context) is { } text ? Quantity.Tokens("--context", text) : null;

    /// <summary>Null without prices.</summary>
    /// <exception cref="FormatException">One stands without the other it needs.</exception>
    public RunningCost? Cost(ParseResult parsed)
    {
        (double? watts, double? price, double? api) = (Positive(parsed, Watts), Positive(parsed, PricePerKilowattHour), Positive(parsed, ApiPrice));
        return (watts, price, api) switch
        {
            ({ } w, { } p, _) => new RunningCost(w, p, api),
            (null, null, null) => null,
            _ => throw new FormatException("The cost of a million tokens needs both --watts and --price-per-kwh; --api-price is compared with it."),
        };
    }

    private PlanGpu? Card(ParseResult parsed)
    {
        if (parsed.GetValue(Gpu) is not { } text)
        {
            return parsed.GetValue(GpuBandwidth) is null && parsed.GetValue(Pcie) is null
                ? null
                : throw new FormatException("--gpu-bandwidth and --pcie need --gpu, the memory of the GPU.");
        }

        return new PlanGpu(
            (long)Quantity.CardBytes("--gpu", text),
            Read(parsed, GpuBandwidth, Quantity.BytesPerSecond) is { } bandwidth ? Fact.Given(bandwidth) : Fact.Assumed(UsualGpuBytesPerSecond),
            Read(parsed, Pcie, Quantity.BytesPerSecond) is { } link ? Fact.Given(link) : Fact.Assumed(UsualLinkBytesPerSecond));
    }

    private static double? Read(ParseResult parsed, Option<string?> option, Func<string, string, double> read) =>
        parsed.GetValue(option) is { } text ? read(option.Name, text) : null;

    private static double? Positive(ParseResult parsed, Option<double?> option) => parsed.GetValue(option) switch
    {
        null => null,
        { } value when value is >= Least and <= Most => value,
        { } value => throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"{option.Name} takes a number above 0, 1e-9 … 1e9; found {value}.")),
    };
}
