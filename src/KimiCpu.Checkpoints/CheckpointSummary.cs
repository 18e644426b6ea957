// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>One component's share of a model.</summary>
/// <param name="Component">Which.</param>
/// <param name="Parameters">Weights.</param>
/// <param name="Bytes">As stored, scales included.</param>
/// <param name="BytesPerToken">Read for one decoded token.</param>
/// <param name="ParametersPerToken">Used for one token.</param>
/// <param name="Formats">How it is stored.</param>
internal sealed record ComponentSummary(Component Component, long Parameters, long Bytes, long BytesPerToken, long ParametersPerToken, IReadOnlyList<string> Formats);

/// <summary>What a checkpoint holds and what a token costs, from its headers alone.</summary>
internal sealed class CheckpointSummary
{
    /// <summary>How <see cref="ComponentSummary.Formats"/> name INT4 in groups of 32 columns.</summary>
    public const string Int4Group32 = "INT4 g32";

    private CheckpointSummary(IReadOnlyList<ComponentSummary> components, long cacheBytesPerToken)
    {
        Components = components;
        CacheBytesPerToken = cacheBytesPerToken;
    }

    public IReadOnlyList<ComponentSummary> Components { get; }

    public long Parameters => Components.Sum(c => c.Parameters);

    /// <summary>Parameters that one token uses; the embedding counts as one row.</summary>
    public long ActiveParameters => Components.Sum(c => c.ParametersPerToken);

    public long Bytes => Components.Sum(c => c.Bytes);

    /// <summary>Bytes of weights that one decoded token reads.</summary>
    public long BytesPerToken => Components.Sum(c => c.BytesPerToken);

    /// <summary>Bytes that one token of context takes in a BF16 cache.</summary>
    public long CacheBytesPerToken { get; }

    /// <exception cref="CheckpointException">A tensor is missing or does not match the configuration.</exception>
    public static CheckpointSummary Of(Checkpoint checkpoint) => Of(checkpoint.Config, tensor => Stored(checkpoint, tensor));

    /// <summary>What a checkpoint would hold: for models whose files are not here.</summary>
    /// <param name="config">Its shape.</param>
    /// <param name="quantized">How its routed experts are stored; block FP8 applies to all linear layers but router, embedding and head.</param>
    public static CheckpointSummary Of(KimiConfig config, StoredFormat quantized) => Of(config, tensor => Expected(config, quantized, tensor));

    private static CheckpointSummary Of(KimiConfig config, Func<ModelTensor, (long Bytes, string Format)> stored)
    {
        var sums = new SortedDictionary<Component, (long Parameters, long Bytes, SortedSet<string> Formats)>();
        foreach (ModelTensor tensor in ModelTensors.Of(config))
        {
            (long bytes, string format) = stored(tensor);
            (long Parameters, long Bytes, SortedSet<string> Formats) sum = sums.GetValueOrDefault(tensor.Component, (0, 0, []));
            sum.Formats.Add(format);
            sums[tensor.Component] = (sum.Parameters + tensor.Parameters, sum.Bytes + bytes, sum.Formats);
        }

        return new CheckpointSummary(
            [.. sums.Select(p => Summarize(config, p.Key, p.Value.Parameters, p.Value.Bytes, p.Value.Formats))],
            2L * config.LayerCount * (config.KeyValueLoraRank + config.RopeHeadSize));
    }

    private static ComponentSummary Summarize(KimiConfig config, Component component, long parameters, long bytes, SortedSet<string> formats)
    {
        // One row of the embedding, the chosen experts of each layer, and all of everything else. A tied embedding is the head too.
        (long numerator, long denominator) = component switch
        {
            Component.Embedding when !config.TieEmbeddings => (1L, config.VocabularySize),
            Component.RoutedExperts => (config.ExpertsPerToken, config.RoutedExpertCount),
            _ => (1L, 1L),
        };
        return new ComponentSummary(component, parameters, bytes, bytes / denominator * numerator, parameters / denominator * numerator, [.. formats]);
    }

    private static (long Bytes, string Format) Stored(Checkpoint checkpoint, ModelTensor tensor)
    {
        if (tensor.Columns == 0)
        {
            TensorEntry entry = checkpoint.Get(tensor.Name);
            return (entry.Length, entry.Type.Name());
        }

        StoredMatrix matrix = checkpoint.ResolveMatrix(tensor.Name, tensor.Rows, tensor.Columns, readWeightShape: false);
        return (matrix.Bytes, Name(matrix.Format, matrix.BlockRows, matrix.BlockColumns, matrix.Data.Type.Name()));
    }

    private static (long Bytes, string Format) Expected(KimiConfig config, StoredFormat quantized, ModelTensor tensor)
    {
        const int Int4Group = 32;
        long rows = tensor.Rows;
        long columns = tensor.Columns;
        if (columns == 0)
        {
            ElementType type = tensor.Component == Component.Router ? ElementType.Float32 : ElementType.BFloat16;
            return (rows * type.Bytes(), type.Name());
        }

        (int blockRows, int blockColumns) = (config.Float8BlockRows, config.Float8BlockColumns);
        StoredFormat format = quantized switch
        {
            StoredFormat.Int4Group32 when tensor.Component == Component.RoutedExperts => quantized,
            StoredFormat.Float8Block when tensor.Component is not (Component.Embedding or Component.Router or Component.Head) => quantized,
            _ => StoredFormat.BFloat16,
        };
        long bytes = format switch
        {
            StoredFormat.Int4Group32 => (rows * columns / 2) + (rows * Blocks(columns, Int4Group) * 2),
            StoredFormat.Float8Block => (rows * columns) + (Blocks(rows, blockRows) * Blocks(columns, blockColumns) * 4),
            _ => rows * columns * 2,
        };
        return (bytes, Name(format, blockRows, blockColumns, ElementType.BFloat16.Name()));
    }

    private static long Blocks(long length, int size) => (length + size - 1) / size;

    private static string Name(StoredFormat format, int blockRows, int blockColumns, string plain) => format switch
    {
        StoredFormat.Int4Group32 => Int4Group32,
        StoredFormat.Float8Block => $"FP8 {blockRows}x{blockColumns}",
        _ => plain,
    };
}
