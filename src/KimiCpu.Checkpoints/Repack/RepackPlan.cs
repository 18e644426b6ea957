// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace KimiCpu.Checkpoints;

/// <summary>Bytes of a file of the source.</summary>
internal readonly record struct SourceRange(string File, long Offset, long Length);

/// <summary>A file of the target: bytes of its own, and then bytes of the source.</summary>
/// <param name="Name">Relative to the folder, with slashes.</param>
/// <param name="Head">What it begins with.</param>
/// <param name="Ranges">What follows.</param>
/// <param name="Tensors">What <paramref name="Ranges"/> hold, in order of their data in this file.</param>
internal sealed record TargetFile(string Name, byte[] Head, IReadOnlyList<SourceRange> Ranges, IReadOnlyList<TensorEntry> Tensors)
{
    public long Bytes => Head.Length + Ranges.Sum(r => r.Length);
}

/// <summary>
/// Where everything goes: a shard a layer, and one for what belongs to no layer. A shard begins with its routed experts,
/// one behind the other, each with all its tensors side by side, the first at a multiple of <see cref="Alignment"/>. The
/// format allows no holes, so the others lie at such multiples where an expert's bytes are one, as in Kimi K2's INT4
/// releases; what nobody reads with an expert (<c>weight_shape</c>) follows behind the last.
/// </summary>
internal sealed partial class RepackPlan
{
    public const int Alignment = DirectFile.Alignment;

    private readonly Dictionary<string, TensorEntry> _places;

    private RepackPlan(IReadOnlyList<TargetFile> files, Dictionary<string, TensorEntry> places)
    {
        Files = files;
        _places = places;
    }

    /// <summary>In order of writing: without the last, the index, nobody takes the folder for a checkpoint.</summary>
    public IReadOnlyList<TargetFile> Files { get; }

    /// <summary>Of all files.</summary>
    public long Bytes => Files.Sum(f => f.Bytes);

    public int ShardCount => Files.Count(f => f.Tensors.Count > 0);

    /// <summary>Where a tensor will lie; <see cref="TensorEntry.Shard"/> counts <see cref="Files"/>.</summary>
    /// <param name="name">As in the files.</param>
    public TensorEntry PlaceOf(string name) => _places[name];

    public static RepackPlan Of(RepackSource source)
    {
        IGrouping<int, TensorEntry>[] groups = [.. source.Tensors.GroupBy(t => LayerOf(t.Name)).OrderBy(g => g.Key)];
        Dictionary<string, string> metadata = new(source.Metadata, StringComparer.Ordinal);
        metadata.TryAdd("format", "pt");
        var places = new Dictionary<string, TensorEntry>(source.Tensors.Count, StringComparer.Ordinal);
        var files = new List<TargetFile>();
        foreach (IGrouping<int, TensorEntry> group in groups)
        {
            TensorEntry[] ordered = Order(group);
            byte[] head = SafetensorsWriter.Head([.. ordered.Select(t => new TensorToWrite(t.Name, t.Type, t.Shape, null))], Alignment, metadata);
            long offset = head.Length;
            var placed = new List<TensorEntry>(ordered.Length);
            foreach (TensorEntry tensor in ordered)
            {
                placed.Add(tensor with { Offset = offset, Shard = files.Count });
                places.Add(tensor.Name, placed[^1]);
                offset += tensor.Length;
            }

            files.Add(new TargetFile(FormattableString.Invariant($"model-{files.Count + 1:D5}-of-{groups.Length:D5}.safetensors"), head, Ranges(source, ordered), placed));
        }

        byte[] index = Index(source, files);
        files.AddRange(source.Others.Select(name => new TargetFile(name, [], [new SourceRange(name, 0, source.Files.First(f => f.Name == name).Bytes)], [])));
        files.Add(new TargetFile(ShardIndex.File, index, [], []));
        return new RepackPlan(files, places);
    }

    /// <summary>Behind all layers for what belongs to none.</summary>
    private static int LayerOf(string name) =>
        Layer().Match(name) is { Success: true } match && int.TryParse(match.Groups["layer"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out int layer) ? layer : int.MaxValue;

    /// <summary>Larger elements go first, so that a tensor lies aligned to its elements wherever what lies before it allows.</summary>
    private static TensorEntry[] Order(IEnumerable<TensorEntry> tensors) =>
    [
        .. tensors.Select(t => (Tensor: t, Expert: ExpertOf(t.Name)))
            .OrderBy(p => p.Expert)
            .ThenByDescending(p => p.Tensor.Type.Bytes())
            .ThenBy(p => p.Tensor.Shard)
            .ThenBy(p => p.Tensor.Offset)
            .Select(p => p.Tensor),
    ];

    private static int ExpertOf(string name) =>
        Expert().Match(name) is { Success: true } match && int.TryParse(match.Groups["expert"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out int expert) ? expert : int.MaxValue;

    /// <summary>Neighbours in the source come in one range.</summary>
    private static List<SourceRange> Ranges(RepackSource source, TensorEntry[] tensors)
    {
        var ranges = new List<SourceRange>();
        foreach (TensorEntry tensor in tensors.Where(t => t.Length > 0))
        {
            string file = source.Shards[tensor.Shard];
            if (ranges.Count > 0 && ranges[^1] is var last && last.File == file && last.Offset + last.Length == tensor.Offset)
            {
                ranges[^1] = last with { Length = last.Length + tensor.Length };
            }
            else
            {
                ranges.Add(new SourceRange(file, tensor.Offset, tensor.Length));
            }
        }

        return ranges;
    }

    private static byte[] Index(RepackSource source, List<TargetFile> shards)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteStartObject("metadata");
            json.WriteNumber("total_size", source.Tensors.Sum(t => t.Length));
            json.WriteEndObject();
            json.WriteStartObject("weight_map");
            foreach ((string name, string file) in shards.SelectMany(s => s.Tensors.Select(t => (t.Name, s.Name))).OrderBy(p => p.Item1, StringComparer.Ordinal))
            {
                json.WriteString(name, file);
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    [GeneratedRegex(@"^(?:language_model\.)?model\.layers\.(?<layer>\d+)\.", RegexOptions.CultureInvariant)]
    private static partial Regex Layer();

    [GeneratedRegex(@"\.mlp\.experts\.(?<expert>\d+)\.(?!.*\.weight_shape$)", RegexOptions.CultureInvariant)]
    private static partial Regex Expert();
}
