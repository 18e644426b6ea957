// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;

namespace KimiCpu.Planning;

/// <summary>Releases whose shape and layout are known, so that they can be planned before anything is downloaded.</summary>
internal static partial class KnownModels
{
    public const string Nano = "kimi-nano";
    public const string Default = "Kimi-K2-Thinking";

    /// <summary>Of the releases, on Hugging Face and ModelScope.</summary>
    public const string Publisher = "moonshotai";

    /// <summary>Name, layout of the experts, context, and what people also call it.</summary>
    private static readonly (string Name, StoredFormat Format, int Context, string[] Aliases)[] s_releases =
    [
        ("Kimi-K2-Instruct", StoredFormat.Float8Block, 131_072, ["k2", "k2base", "k20711", "k2instruct0711"]),
        ("Kimi-K2-Instruct-0905", StoredFormat.Float8Block, 262_144, ["k20905", "0905"]),
        ("Kimi-K2-Thinking", StoredFormat.Int4Group32, 262_144, ["thinking"]),
        ("Kimi-K2.5", StoredFormat.Int4Group32, 262_144, []),
        ("Kimi-K2.6", StoredFormat.Int4Group32, 262_144, []),
        ("Kimi-K2.7-Code", StoredFormat.Int4Group32, 262_144, ["k27"]),
    ];

    /// <summary>Names to show, kimi-nano included.</summary>
    public static IEnumerable<string> Names => s_releases.Select(r => r.Name).Append(Nano);

    /// <summary>The release that a name means, whatever its case, punctuation and organisation; null for none.</summary>
    public static PlanSubject? Find(string name)
    {
        string wanted = Key(name);
        if (wanted == Key(Nano))
        {
            return EmbeddedNano();
        }

        foreach ((string release, StoredFormat format, int context, string[] aliases) in s_releases)
        {
            if (wanted == Key(release) || aliases.Contains(wanted))
            {
                KimiConfig config = Shape(context);
                return new PlanSubject(release, config, CheckpointSummary.Of(config, format), null);
            }
        }

        return null;
    }

    /// <summary>Where a hub has what somebody gives by name in place of a folder, as "moonshotai/Kimi-K2-Thinking"; null for what is no such name, or a folder after all.</summary>
    /// <param name="name">A release's, in any of its spellings, or the publisher's and a model's.</param>
    public static string? RepositoryOf(string name)
    {
        if (!Presence.IsMissing(name))
        {
            return null;
        }

        // Other publishers' look like paths, such as models/Kimi-K2-Thinking in another folder than this one.
        if (PublishersModel().IsMatch(name))
        {
            return name;
        }

        string wanted = Key(name);
        string? release = name.AsSpan().IndexOfAny('/', '\\') >= 0 ? null : s_releases.Where(r => wanted == Key(r.Name) || r.Aliases.Contains(wanted)).Select(r => r.Name).FirstOrDefault();
        return release is null ? null : $"{Publisher}/{release}";
    }

    private static PlanSubject EmbeddedNano()
    {
        using Checkpoint checkpoint = Checkpoint.Open(KimiModel.EmbeddedFiles);
        return new PlanSubject(Nano, checkpoint.Config, CheckpointSummary.Of(checkpoint), null);
    }

    /// <summary>Lower-case letters and digits of the last part of a path, without the family's name: "moonshotai/Kimi-K2-Thinking" and "k2 thinking" are one.</summary>
    private static string Key(string name)
    {
        string last = name.TrimEnd('/', '\\').Split('/', '\\')[^1];
        string key = new([.. last.Where(char.IsAsciiLetterOrDigit).Select(char.ToLowerInvariant)]);
        return key.StartsWith("kimi", StringComparison.Ordinal) ? key["kimi".Length..] : key;
    }

    /// <summary>Kimi K2 from its public config.json; all releases share it but for the context.</summary>
    private static KimiConfig Shape(int context) => new()
    {
        Architecture = "DeepseekV3ForCausalLM",
        ModelType = "kimi_k2",
        HiddenSize = 7168,
        LayerCount = 61,
        VocabularySize = 163_840,
        HeadCount = 64,
        QueryLoraRank = 1536,
        KeyValueLoraRank = 512,
        NopeHeadSize = 128,
        RopeHeadSize = 64,
        ValueHeadSize = 128,
        IntermediateSize = 18_432,
        MoeIntermediateSize = 2048,
        RoutedExpertCount = 384,
        SharedExpertCount = 1,
        ExpertsPerToken = 8,
        ExpertGroupCount = 1,
        ExpertGroupsPerToken = 1,
        FirstDenseLayers = 1,
        MoeLayerFrequency = 1,
        NormalizeExpertWeights = true,
        RoutedScalingFactor = 2.827,
        NormEpsilon = 1e-5,
        RopeTheta = 50_000,
        RopeScaling = null,
        MaxPositions = context,
        TieEmbeddings = false,
        EosTokenIds = [163_586],
        Float8BlockRows = 128,
        Float8BlockColumns = 128,
        QuantizationMethod = "",
    };

    [GeneratedRegex($@"^{Publisher}/[A-Za-z0-9][\w.-]*\z")]
    private static partial Regex PublishersModel();
}
