// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cpu;
using KimiCpu.Weights;

namespace KimiCpu.Planning;

/// <summary>The model to plan for, as numbers.</summary>
/// <param name="Name">To show.</param>
/// <param name="Config">Its shape.</param>
/// <param name="Summary">Its bytes by component.</param>
/// <param name="Folder">Where its files are; null where there are none to read.</param>
internal sealed record PlanSubject(string Name, KimiConfig Config, CheckpointSummary Summary, string? Folder)
{
    /// <summary>Columns that share a factor in INT4.</summary>
    private const int Int4Group = 32;

    /// <summary>By drive, the share that it holds of each MoE layer's routed experts; empty where no files are read.</summary>
    public IReadOnlyDictionary<string, double[]> ExpertShares { get; init; } = new Dictionary<string, double[]>();

    public int MoeLayers => Enumerable.Range(0, Config.LayerCount).Count(Config.IsMoe);

    public long RoutedBytes => BytesOf(Component.RoutedExperts);

    /// <summary>Of one expert of one layer, scales included.</summary>
    public double ExpertBytes => MoeLayers == 0 ? 0 : RoutedBytes / ((double)MoeLayers * Config.RoutedExpertCount);

    /// <summary>Whether a GPU can have routed experts, to stay or to pass, as ExpertSlotLayout of KimiCpu.Cuda decides.</summary>
    public bool ExpertsSuitGpu =>
        MoeLayers > 0
        && Config.HiddenSize % Int4Group == 0
        && Config.MoeIntermediateSize % Int4Group == 0
        && Summary.Components.Where(c => c.Component == Component.RoutedExperts).SelectMany(c => c.Formats).All(f => f == CheckpointSummary.Int4Group32);

    /// <summary>Routed experts that one token uses, in all layers.</summary>
    public double RoutedBytesPerToken => ExpertBytes * Config.ExpertsPerToken * MoeLayers;

    /// <summary>Weights that every token needs: all but routed experts and embedding.</summary>
    public long HotBytes => Summary.Components.Where(c => c.Component != Component.RoutedExperts).Sum(c => c.BytesPerToken);

    /// <summary>Multiplications and additions of a token's routed experts.</summary>
    public double RoutedOperations => 2.0 * Parameters(Component.RoutedExperts);

    /// <summary>Those of the weights that every token needs, without the head.</summary>
    public double HotOperations => 2.0 * (Parameters(Component.Attention) + Parameters(Component.DenseMlp) + Parameters(Component.SharedExperts) + Parameters(Component.Router));

    public double HeadOperations => 2.0 * Config.VocabularySize * Config.HiddenSize;

    /// <summary>Those of attention for each token of the context: scores against a latent row, and sums of latents, in every head and layer.</summary>
    public double AttentionOperationsPerContextToken =>
        2.0 * Config.LayerCount * Config.HeadCount * ((2 * Config.KeyValueLoraRank) + Config.RopeHeadSize);

    /// <summary>The same where keys and values are expanded, and what expanding a token of the context takes once a step.</summary>
    public (double PerContextToken, double Expanding) ExpandedAttentionOperations => (
        2.0 * Config.LayerCount * Config.HeadCount * (Config.NopeHeadSize + Config.RopeHeadSize + Config.ValueHeadSize),
        2.0 * Config.LayerCount * Config.HeadCount * (Config.NopeHeadSize + Config.ValueHeadSize) * Config.KeyValueLoraRank);

    /// <summary>New tokens of a step from which on a GPU does, as ExpandedAttention of KimiCpu.Cuda decides; none where its kernels do not suit.</summary>
    public int FewestExpandedTokensOfGpu
    {
        get
        {
            long spared = (2L * Config.KeyValueLoraRank) - Config.NopeHeadSize - Config.ValueHeadSize;
            bool suits = (Config.NopeHeadSize, Config.RopeHeadSize, Config.ValueHeadSize) == (128, 64, 128) && Config.KeyValueLoraRank % 32 == 0 && spared > 0;
            return suits ? (int)((((long)(Config.NopeHeadSize + Config.ValueHeadSize) * Config.KeyValueLoraRank) + spared - 1) / spared) : int.MaxValue;
        }
    }

    /// <summary>The same on a CPU.</summary>
    public int FewestExpandedTokensOfCpu => PromptAttention.RowsThatPay(WeightLoader.ShapeOf(Config));

    /// <summary>Folder with a checkpoint, or the name of a known release.</summary>
    /// <exception cref="ArgumentException">It is neither.</exception>
    /// <exception cref="CheckpointException">The folder's files are missing or damaged.</exception>
    public static PlanSubject Open(string folderOrName)
    {
        if (IsFolder(folderOrName))
        {
            using Checkpoint checkpoint = Checkpoint.Open(folderOrName);
            return new PlanSubject(checkpoint.Name, checkpoint.Config, CheckpointSummary.Of(checkpoint), folderOrName) { ExpertShares = ExpertDrives.Of(checkpoint) };
        }

        return KnownModels.Find(folderOrName)
            ?? throw new ArgumentException($"'{folderOrName}' is neither a folder nor a model known by name. Known are: {string.Join(", ", KnownModels.Names)}.");
    }

    /// <summary>What may not be looked at is not planned for by its name: opening tells what is wrong with it. But a name by itself says nothing about a current folder that is closed.</summary>
    private static bool IsFolder(string folderOrName) =>
        Directory.Exists(folderOrName)
        || ((Path.IsPathFullyQualified(folderOrName) || KnownModels.Find(folderOrName) is null) && !Presence.IsMissing(folderOrName) && !File.Exists(RealPath.Of(folderOrName)));

    public long BytesOf(Component component) => Summary.Components.Where(c => c.Component == component).Sum(c => c.Bytes);

    /// <summary>Different experts of one layer that so many tokens touch together, with flat routing.</summary>
    public double DistinctExperts(double tokens)
    {
        double experts = Config.RoutedExpertCount;
        return experts == 0 ? 0 : experts * (1 - Math.Pow(1 - (Config.ExpertsPerToken / experts), tokens));
    }

    private long Parameters(Component component) => Summary.Components.Where(c => c.Component == component).Sum(c => c.ParametersPerToken);
}
