// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>Whose routing a trace holds.</summary>
internal sealed record RoutingTraceHeader
{
    /// <summary>Far more than a model has; caches that replay a trace have a few bytes for each, and a file of a few bytes could ask for all memory.</summary>
    public const int MaxTotalExperts = 1 << 22;

    private const int MaxLayers = 4096;
    private const int MaxExperts = 1 << 16;
    private const long MaxExpertBytes = 1L << 40;

    /// <summary>See <see cref="Sessions.ModelIdentity"/>; 0 for a made-up model.</summary>
    public required UInt128 Model { get; init; }

    /// <summary>To show.</summary>
    public required string ModelName { get; init; }

    /// <summary>What was run, to show.</summary>
    public required string Source { get; init; }

    /// <summary>Dense ones included.</summary>
    public required int LayerCount { get; init; }

    /// <summary>Experts per MoE layer.</summary>
    public required int ExpertCount { get; init; }

    public required int ExpertsPerToken { get; init; }

    /// <summary>Stored bytes of one expert.</summary>
    public required long ExpertBytes { get; init; }

    /// <summary>Rising indices of the layers with experts.</summary>
    public required IReadOnlyList<int> MoeLayers { get; init; }

    /// <summary>Whether look-ahead was on.</summary>
    public required bool HasPredictions { get; init; }

    /// <summary>Experts of all layers.</summary>
    public int TotalExperts => MoeLayers.Count * ExpertCount;

    /// <summary>Bytes of a block behind its number of rows.</summary>
    public long BytesOf(int rows) => (long)rows * ExpertsPerToken * sizeof(ushort) * (MoeLayers.Count + (HasPredictions ? MoeLayers.Count - 1 : 0));

    public byte[] ToBytes()
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        writer.Write((ulong)(Model >> 64));
        writer.Write((ulong)Model);
        writer.Write(ModelName);
        writer.Write(Source);
        writer.Write(LayerCount);
        writer.Write(ExpertCount);
        writer.Write(ExpertsPerToken);
        writer.Write(ExpertBytes);
        writer.Write(HasPredictions);
        writer.Write(MoeLayers.Count);
        foreach (int layer in MoeLayers)
        {
            writer.Write(layer);
        }

        return bytes.ToArray();
    }

    /// <exception cref="FormatException">The bytes are no header, or one that makes no sense.</exception>
    public static RoutingTraceHeader Of(byte[] bytes)
    {
        try
        {
            using var reader = new BinaryReader(new MemoryStream(bytes));
            var model = new UInt128(reader.ReadUInt64(), reader.ReadUInt64());
            (string name, string source) = (reader.ReadString(), reader.ReadString());
            (int layers, int experts, int chosen) = (reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32());
            (long expertBytes, bool predictions) = (reader.ReadInt64(), reader.ReadBoolean());
            var moeLayers = new int[Within(reader.ReadInt32(), 1, Within(layers, 1, MaxLayers, "layers"), "MoE layers")];
            for (int i = 0; i < moeLayers.Length; i++)
            {
                moeLayers[i] = Within(reader.ReadInt32(), i == 0 ? 0 : moeLayers[i - 1] + 1, layers - 1, "an MoE layer");
            }

            Within((long)moeLayers.Length * experts, 1, MaxTotalExperts, "experts of all layers");
            return new RoutingTraceHeader
            {
                Model = model,
                ModelName = name,
                Source = source,
                LayerCount = layers,
                ExpertCount = Within(experts, 1, MaxExperts, "experts"),
                ExpertsPerToken = Within(chosen, 1, experts, "experts per token"),
                ExpertBytes = Within(expertBytes, 1, MaxExpertBytes, "bytes of an expert"),
                MoeLayers = moeLayers,
                HasPredictions = predictions,
            };
        }
        catch (Exception e) when (e is IOException or ArgumentException)
        {
            throw new FormatException("The header ends too early.", e);
        }
    }

    private static int Within(int value, int least, int most, string what) => (int)Within((long)value, least, most, what);

    private static long Within(long value, long least, long most, string what) =>
        value >= least && value <= most ? value : throw new FormatException($"The header says {value:N0} for {what}, which runs from {least:N0} to {most:N0}.");
}
