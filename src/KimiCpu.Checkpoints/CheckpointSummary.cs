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
    public static CheckpointSummary Of(Checkpoint checkpoint)
    {
        KimiConfig config = checkpoint.Config;
        var sums = new SortedDictionary<Component, (long Parameters, long Bytes, SortedSet<string> Formats)>();
        bool head = !config.TieEmbeddings && checkpoint.Contains("lm_head.weight");
        foreach (ModelTensor tensor in ModelTensors.Of(config, head))
        {
            (long bytes, string format) = Stored(checkpoint, tensor);
            (long Parameters, long Bytes, SortedSet<string> Formats) sum = sums.GetValueOrDefault(tensor.Component, (0, 0, []));
            sum.Formats.Add(format);
            sums[tensor.Component] = (sum.Parameters + tensor.Parameters, sum.Bytes + bytes, sum.Formats);
        }

        return new CheckpointSummary(
            [.. sums.Select(p => Summarize(config, head, p.Key, p.Value.Parameters, p.Value.Bytes, p.Value.Formats))],
            2L * config.LayerCount * (config.KeyValueLoraRank + config.RopeHeadSize));
    }

    private static ComponentSummary Summarize(KimiConfig config, bool head, Component component, long parameters, long bytes, SortedSet<string> formats)
    {
        // One row of the embedding, the chosen experts of each layer, and all of everything else. A tied embedding is the head too.
        (long numerator, long denominator) = component switch
        {
            Component.Embedding when head => (1L, config.VocabularySize),
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
        string format = matrix.Format switch
        {
            StoredFormat.Int4Group32 => "INT4 g32",
            StoredFormat.Float8Block => $"FP8 {matrix.BlockRows}x{matrix.BlockColumns}",
            _ => matrix.Data.Type.Name(),
        };
        return (matrix.Bytes, format);
    }
}
