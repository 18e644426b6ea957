// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Globalization;

namespace KimiCpu.Checkpoints;

/// <summary>
/// An open checkpoint: its configuration, and every tensor of the language model where it lies in its shard's mapping.
/// All headers are checked against their files before anything is mapped. Opening reads headers only, so it costs the
/// same whatever the size of the weights. Immutable; safe to read from several threads until disposed.
/// </summary>
internal sealed class Checkpoint : IDisposable
{
    /// <summary>What K2.5 and later put before every tensor of the language model.</summary>
    private const string LanguageModelPrefix = "language_model.";

    private const string OtherForm = "This form of quantization is not supported.";

    private readonly Dictionary<string, TensorEntry> _tensors;
    private readonly IReadOnlyList<string> _shards;
    private readonly MappedFile[] _mappings;
    private readonly long[] _lengths;

    private Checkpoint(CheckpointFiles files, KimiConfig config, IReadOnlyList<string> shards, Dictionary<string, TensorEntry> tensors, MappedFile[] mappings)
    {
        Files = files;
        Config = config;
        _shards = shards;
        _tensors = tensors;
        _mappings = mappings;
        _lengths = [.. mappings.Select(m => m.Length)];
    }

    public string Name => Files.Name;

    public CheckpointFiles Files { get; }

    public KimiConfig Config { get; }

    /// <summary>Names of the files that <see cref="TensorEntry.Shard"/> counts.</summary>
    public IReadOnlyList<string> Shards => _shards;

    /// <summary>Tensors of the language model by their name without prefix.</summary>
    public IReadOnlyDictionary<string, TensorEntry> Tensors => _tensors;

    /// <summary>Bytes of all tensors of the language model.</summary>
    public long TensorBytes => _tensors.Values.Sum(t => t.Length);

    /// <summary>Opens a folder.</summary>
    /// <param name="folder">As downloaded, with <c>config.json</c> and safetensors files.</param>
    /// <param name="progress">Told after each shard: shards done, shards in all.</param>
    public static Checkpoint Open(string folder, Action<int, int>? progress = null) => Open(new FolderCheckpointFiles(folder), progress);

    /// <inheritdoc cref="Open(string, Action{int, int})"/>
    public static Checkpoint Open(CheckpointFiles files, Action<int, int>? progress = null)
    {
        KimiConfig config = KimiConfigReader.Read(files);
        ShardIndex index = ShardIndex.Read(files);
        var tensors = new Dictionary<string, TensorEntry>(index.ShardOf?.Count ?? 0, StringComparer.Ordinal);
        foreach (string shard in index.Shards)
        {
            if (!files.Exists(shard))
            {
                throw new CheckpointException(files.PathOf(shard), null, "The index lists this shard, but the file is missing.", CheckpointException.FetchMissing);
            }
        }

        var lengths = new long[index.Shards.Count];
        for (int shard = 0; shard < index.Shards.Count; shard++)
        {
            lengths[shard] = files.Length(index.Shards[shard]);
            Collect(files, index, shard, SafetensorsHeader.Read(files, index.Shards[shard], shard), tensors);
            progress?.Invoke(shard + 1, index.Shards.Count);
        }

        CheckIndexIsMet(files, index, tensors);
        var mappings = new MappedFile[index.Shards.Count];
        var checkpoint = default(Checkpoint);
        try
        {
            for (int shard = 0; shard < mappings.Length; shard++)
            {
                mappings[shard] = files.Map(index.Shards[shard]);

                // A download may have put another file in the place of the one whose header was read.
                SafetensorsHeader.Expect(
                    mappings[shard].Length == lengths[shard], files.PathOf(index.Shards[shard]), null, $"The file had {lengths[shard]:N0} bytes when its header was read, and {mappings[shard].Length:N0} when it was mapped.");
            }

            checkpoint = new Checkpoint(files, config, index.Shards, WithoutPrefix(tensors), mappings);
            return checkpoint;
        }
        finally
        {
            if (checkpoint is null)
            {
                Array.ForEach(mappings, m => m?.Dispose());
            }
        }
    }

    /// <summary>Bytes of a shard when it was opened.</summary>
    public long LengthOf(int shard) => _lengths[shard];

    public MappedFile MappingOf(int shard) => _mappings[shard];

    /// <summary>Bytes of a shard that is open, by an ordinary read that cannot fault: those of the weights that compute, also where another file has taken the place of theirs.</summary>
    /// <exception cref="CheckpointException">They cannot be read.</exception>
    /// <exception cref="ObjectDisposedException">The checkpoint is disposed, which may be during the read.</exception>
    public byte[] ReadOpen(int shard, long offset, int count)
    {
        try
        {
            return _mappings[shard].Read(offset, count);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(Files.PathOf(_shards[shard]), e);
        }
    }

    public bool Contains(string name) => _tensors.ContainsKey(name);

    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public TensorEntry Get(string name) => _tensors.TryGetValue(name, out TensorEntry? entry)
        ? entry
        : throw Mismatch(Files.Exists(ShardIndex.File) ? ShardIndex.File : _shards[0], name, "The model needs this tensor, but no shard holds it.");

    /// <summary>First byte of a tensor, valid until the checkpoint is disposed.</summary>
    public unsafe byte* Pointer(TensorEntry entry) => _mappings[entry.Shard].Pointer + entry.Offset;

    /// <summary>Finds out how a linear layer is stored by which tensors exist, and checks their types and shapes.</summary>
    /// <param name="stem">Name without <c>.weight</c> or <c>.weight_packed</c>.</param>
    /// <param name="rows">Output features by the configuration.</param>
    /// <param name="columns">Input features by the configuration.</param>
    /// <param name="readWeightShape">
    /// Whether the numbers inside <c>weight_shape</c> are compared too. Kimi K2 has 69,000 of them, scattered over all shards.
    /// </param>
    public StoredMatrix ResolveMatrix(string stem, int rows, int columns, bool readWeightShape = true)
    {
        if (_tensors.TryGetValue(stem + ".bias", out TensorEntry? bias))
        {
            throw Mismatch(bias, "Expected a linear layer without a bias.", "This model is not of the Kimi K2 family as it is supported here.");
        }

        if (_tensors.TryGetValue(stem + ".weight_packed", out TensorEntry? packed))
        {
            return ResolveInt4(stem, packed, rows, columns, readWeightShape);
        }

        TensorEntry data = Get(stem + ".weight");
        CheckShape(data, rows, columns);
        if (data.Type == ElementType.Float8E4M3)
        {
            TensorEntry scales = Get(stem + ".weight_scale_inv");
            int blockRows = Config.Float8BlockRows;
            int blockColumns = Config.Float8BlockColumns;
            CheckType(scales, ElementType.Float32);
            CheckShape(scales, Blocks(rows, blockRows), Blocks(columns, blockColumns));
            return new StoredMatrix(StoredFormat.Float8Block, rows, columns, data, scales, blockRows, blockColumns);
        }

        StoredFormat format = data.Type switch
        {
            ElementType.BFloat16 => StoredFormat.BFloat16,
            ElementType.Float32 => StoredFormat.Float32,
            ElementType.Float16 => StoredFormat.Float16,
            _ => throw Mismatch(data, $"Expected BF16, F32, F16, F8_E4M3 with scales, or packed INT4; found {data}.", OtherForm),
        };
        return new StoredMatrix(format, rows, columns, data, null, 0, 0);
    }

    /// <summary>
    /// A small vector of BF16, F16 or F32 as floats: norms and a router's biases, where one number that is none is in every token's way. All are finite, but for
    /// biases of -infinity, by which an expert is never chosen; sums of them with others would be those of groups.
    /// </summary>
    public float[] ReadVector(string name, int length)
    {
        TensorEntry entry = Get(name);
        CheckShape(entry, length);
        ReadOnlySpan<byte> bytes = ReadSmall(entry);
        bool mayExclude = Config.ExpertGroupCount == 1 && name.EndsWith(".e_score_correction_bias", StringComparison.Ordinal);
        var values = new float[length];
        for (int i = 0; i < length; i++)
        {
            values[i] = entry.Type switch
            {
                ElementType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(bytes[(4 * i)..]),
                ElementType.BFloat16 => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(bytes[(2 * i)..]) << 16),
                ElementType.Float16 => (float)BinaryPrimitives.ReadHalfLittleEndian(bytes[(2 * i)..]),
                _ => throw Mismatch(entry, $"Expected F32, BF16 or F16, found {entry}."),
            };
            if (!float.IsFinite(values[i]) && !(mayExclude && float.IsNegativeInfinity(values[i])))
            {
                throw new CheckpointException(Files.PathOf(_shards[entry.Shard]), entry.Name, string.Create(CultureInfo.InvariantCulture, $"Expected finite numbers, found {values[i]} at place {i} of {length}."));
            }
        }

        return values;
    }

    /// <summary>The tensor that holds an INT4 matrix's shape as numbers.</summary>
    /// <param name="stem">As of <see cref="ResolveMatrix"/>.</param>
    public TensorEntry WeightShapeOf(string stem) => Get(stem + ".weight_shape");

    /// <summary>Compares the numbers in a <c>weight_shape</c>.</summary>
    /// <param name="entry">The tensor.</param>
    /// <param name="bytes">Its data.</param>
    /// <param name="rows">Output features by the configuration.</param>
    /// <param name="columns">Input features by the configuration.</param>
    /// <exception cref="CheckpointException">They differ.</exception>
    public void CheckWeightShape(TensorEntry entry, ReadOnlySpan<byte> bytes, int rows, int columns)
    {
        (long storedRows, long storedColumns) = entry.Type switch
        {
            ElementType.Int64 => (BinaryPrimitives.ReadInt64LittleEndian(bytes), BinaryPrimitives.ReadInt64LittleEndian(bytes[8..])),
            ElementType.Int32 => (BinaryPrimitives.ReadInt32LittleEndian(bytes), BinaryPrimitives.ReadInt32LittleEndian(bytes[4..])),
            _ => throw Mismatch(entry, $"Expected I32 or I64, found {entry}."),
        };
        if (storedRows != rows || storedColumns != columns)
        {
            // These numbers are data, which a download may have damaged.
            throw new CheckpointException(Files.PathOf(_shards[entry.Shard]), entry.Name, $"Expected the shape ({rows}, {columns}), found ({storedRows}, {storedColumns}).");
        }
    }

    public void Dispose() => Array.ForEach(_mappings, m => m.Dispose());

    internal static int Blocks(int size, int block) => (size + block - 1) / block;

    private static void Collect(CheckpointFiles files, ShardIndex index, int shard, List<TensorEntry> entries, Dictionary<string, TensorEntry> tensors)
    {
        foreach (TensorEntry entry in entries)
        {
            bool expected = index.ShardOf is null || (index.ShardOf.TryGetValue(entry.Name, out int listed) && listed == shard);
            SafetensorsHeader.Expect(expected, files.PathOf(index.Shards[shard]), entry.Name, "The shard holds this tensor, but the index does not list it here.", ShardIndex.WhereItDiffers);
            SafetensorsHeader.Expect(tensors.TryAdd(entry.Name, entry), files.PathOf(index.Shards[shard]), entry.Name, "Another shard holds this tensor too.");
        }
    }

    private static void CheckIndexIsMet(CheckpointFiles files, ShardIndex index, Dictionary<string, TensorEntry> tensors)
    {
        foreach ((string name, int shard) in index.ShardOf ?? new Dictionary<string, int>())
        {
            SafetensorsHeader.Expect(tensors.ContainsKey(name), files.PathOf(index.Shards[shard]), name, "The index lists this tensor here, but the shard does not hold it.", ShardIndex.WhereItDiffers);
        }
    }

    /// <summary>Names without the language model's prefix; in files that use it, tensors without it (vision) are left out.</summary>
    private static Dictionary<string, TensorEntry> WithoutPrefix(Dictionary<string, TensorEntry> tensors)
    {
        if (!tensors.Keys.Any(k => k.StartsWith(LanguageModelPrefix, StringComparison.Ordinal)))
        {
            return tensors;
        }

        return tensors
            .Where(p => p.Key.StartsWith(LanguageModelPrefix, StringComparison.Ordinal))
            .ToDictionary(p => p.Key[LanguageModelPrefix.Length..], p => p.Value, StringComparer.Ordinal);
    }

    private StoredMatrix ResolveInt4(string stem, TensorEntry packed, int rows, int columns, bool readWeightShape)
    {
        const int ColumnsPerWord = 8;
        const int GroupSize = 32;

        // Not every checkpoint's config.json says how it is quantized.
        foreach (string surplus in (ReadOnlySpan<string>)[".weight_zero_point", ".weight_g_idx"])
        {
            if (_tensors.TryGetValue(stem + surplus, out TensorEntry? entry))
            {
                throw Mismatch(entry, "Expected INT4 in symmetric groups of neighbouring columns, without this tensor.", OtherForm);
            }
        }

        CheckType(packed, ElementType.Int32);
        CheckShape(packed, rows, Blocks(columns, ColumnsPerWord));
        TensorEntry scales = Get(stem + ".weight_scale");
        CheckType(scales, ElementType.BFloat16);
        CheckShape(scales, rows, Blocks(columns, GroupSize));
        TensorEntry shape = WeightShapeOf(stem);
        CheckShape(shape, 2);
        if (readWeightShape)
        {
            CheckWeightShape(shape, ReadSmall(shape), rows, columns);
        }

        return new StoredMatrix(StoredFormat.Int4Group32, rows, columns, packed, scales, 0, 0);
    }

    /// <summary>A small tensor by an ordinary read: a fault in the mapping would bring in megabytes around it.</summary>
    private byte[] ReadSmall(TensorEntry entry) => Files.Read(_shards[entry.Shard], entry.Offset, checked((int)entry.Length));

    private void CheckType(TensorEntry entry, ElementType expected)
    {
        if (entry.Type != expected)
        {
            throw Mismatch(entry, $"Expected {expected.Name()}, found {entry}.");
        }
    }

    private void CheckShape(TensorEntry entry, params ReadOnlySpan<long> shape)
    {
        if (!entry.HasShape(shape))
        {
            throw Mismatch(entry, $"Expected the shape [{string.Join(", ", shape.ToArray())}] by config.json, found {entry}.");
        }
    }

    private CheckpointException Mismatch(TensorEntry entry, string problem, string? remedy = null) => Mismatch(_shards[entry.Shard], entry.Name, problem, remedy);

    /// <summary>Headers, index and lengths have agreed by now, so the file would be no other if it were fetched again.</summary>
    private CheckpointException Mismatch(string file, string tensor, string problem, string? remedy = null) =>
        new(Files.PathOf(file), tensor, problem, remedy ?? "config.json and weights do not belong together, or this form of weights is not supported: give a folder whose files are all of one release of the Kimi K2 family.") { IsIntact = true };
}
