// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Cli.Routing;

namespace KimiCpu.Cli.Commands;

/// <summary>The options of <c>kimi trace --synthetic</c>.</summary>
internal sealed class SyntheticOptions
{
    private const int K2Layers = 60;
    private const int K2Experts = 384;
    private const int K2Chosen = 8;

    /// <summary>3 matrices of 7168 x 2048 weights of 4 bits, with a scale of 16 for every 32.</summary>
    private const long K2ExpertBytes = 3L * 7168 * 2048 * 9 / 16;

    public Option<string?> Switch { get; } = new("--synthetic") { Description = "Make up the routing of a model that is not here: flat, or zipf:S for use in proportion to rank^-S.", HelpName = "LAW" };
    private readonly Option<int> _layers = new("--layers") { Description = "With --synthetic: MoE layers.", HelpName = "N", DefaultValueFactory = _ => K2Layers };
    private readonly Option<int> _experts = new("--experts") { Description = "With --synthetic: experts of a layer.", HelpName = "N", DefaultValueFactory = _ => K2Experts };
    private readonly Option<int> _chosen = new("--topk") { Description = "With --synthetic: experts of a token.", HelpName = "N", DefaultValueFactory = _ => K2Chosen };
    private readonly Option<long> _expertBytes = new("--expert-bytes") { Description = "With --synthetic: bytes of an expert.", HelpName = "N", DefaultValueFactory = _ => K2ExpertBytes };
    private readonly Option<double> _locality = new("--locality") { Description = "With --synthetic: chance that an expert of the last token is used again, 0 … 1.", HelpName = "P" };
    private readonly Option<double?> _recall = new("--recall") { Description = "With --synthetic: chance that an expert is predicted, 0 … 1. Default: no predictions.", HelpName = "P" };

    /// <summary>Those that need the switch.</summary>
    public Option[] Others => [_layers, _experts, _chosen, _expertBytes, _locality, _recall];

    public void AddTo(Command command)
    {
        command.Add(Switch);
        foreach (Option option in Others)
        {
            command.Add(option);
        }
    }

    /// <summary>Writes a trace and returns its tokens.</summary>
    /// <exception cref="FormatException">There is no such law.</exception>
    /// <exception cref="ArgumentException">A value is outside its range.</exception>
    public int Write(ParseResult parsed, string path, int tokens, ulong? seed, CancellationToken cancellationToken)
    {
        string law = parsed.GetValue(Switch)!;
        double exponent = ReadLaw(law);
        int experts = InRange(parsed.GetValue(_experts), 1, ushort.MaxValue, "--experts");
        int layers = InRange(parsed.GetValue(_layers), 1, 1024, "--layers");
        if ((long)layers * experts > RoutingTraceHeader.MaxTotalExperts)
        {
            throw new ArgumentException($"--layers times --experts is at most {RoutingTraceHeader.MaxTotalExperts}; found {layers} times {experts}.");
        }

        ulong drawn = seed ?? (ulong)Random.Shared.Next();
        var header = new RoutingTraceHeader
        {
            Model = 0,
            ModelName = "synthetic",
            Source = string.Create(CultureInfo.InvariantCulture, $"{law}, locality {parsed.GetValue(_locality)}, seed {drawn}"),
            LayerCount = layers,
            ExpertCount = experts,
            ExpertsPerToken = InRange(parsed.GetValue(_chosen), 1, experts, "--topk"),
            ExpertBytes = InRange(parsed.GetValue(_expertBytes), 1, 1L << 40, "--expert-bytes"),
            MoeLayers = [.. Enumerable.Range(0, layers)],
            HasPredictions = parsed.GetValue(_recall) is not null,
        };
        var routing = new SyntheticRouting(
            header, exponent, InRange(parsed.GetValue(_locality), 0, 1, "--locality"), InRange(parsed.GetValue(_recall) ?? 0, 0, 1, "--recall"), drawn);
        int wanted = InRange(tokens, 1, int.MaxValue, "--tokens");
        using var writer = OutputFile.Write("--output", path, () => new RoutingTraceWriter(path, header));
        for (int token = 0; token < wanted; token++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            writer.Write(routing.Next());
        }

        writer.Finish();
        return wanted;
    }

    private static double ReadLaw(string law)
    {
        double exponent = 0;
        bool zipf = law.StartsWith("zipf:", StringComparison.Ordinal)
            && double.TryParse(law.AsSpan("zipf:".Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out exponent) && exponent <= 10;
        return law == "flat" || zipf ? exponent : throw new FormatException($"--synthetic takes flat or zipf:S with an exponent S of 0 … 10, such as zipf:0.8; found '{law}'.");
    }

    private static T InRange<T>(T value, T least, T most, string option)
        where T : IComparable<T> => value.CompareTo(least) >= 0 && value.CompareTo(most) <= 0
            ? value
            : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{option} takes {least} … {most}; found {value}."));
}
