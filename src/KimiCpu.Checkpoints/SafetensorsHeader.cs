// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace KimiCpu.Checkpoints;

/// <summary>
/// Reads the header of a safetensors file, which is untrusted: 8 bytes of little-endian length, JSON that maps names to
/// type, shape and byte range, then the data. Every range is proved to lie in the file, to fit its shape, and to leave
/// neither hole nor overlap, before anything is mapped.
/// </summary>
internal static class SafetensorsHeader
{
    /// <summary>The format's own limit on the JSON's length.</summary>
    private const long MaxHeaderBytes = 100_000_000;

    /// <param name="files">The checkpoint.</param>
    /// <param name="file">Name of the shard.</param>
    /// <param name="shard">Its index, for the entries.</param>
    /// <param name="metadata">Filled with the texts of <c>__metadata__</c>; those that are there already stay.</param>
    public static List<TensorEntry> Read(CheckpointFiles files, string file, int shard, IDictionary<string, string>? metadata = null)
    {
        files.RefuseUnfinished(file);
        string path = files.PathOf(file);
        long fileLength = files.Length(file);
        if (fileLength < 8)
        {
            throw new CheckpointException(path, null, $"Expected a safetensors file of at least 8 bytes, found {fileLength}.");
        }

        files.RefusePointer(file, files.Read(file, 0, (int)Math.Min(fileLength, 64)));
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(files.Read(file, 0, 8));
        if (headerLength > MaxHeaderBytes || (long)headerLength > fileLength - 8)
        {
            throw new CheckpointException(path, null, $"The header claims {headerLength:N0} bytes, but the file has {fileLength:N0} in all and headers end at {MaxHeaderBytes:N0}.");
        }

        return Parse(files.Read(file, 8, (int)headerLength), path, fileLength, shard, metadata);
    }

    /// <param name="json">The header without its length.</param>
    /// <param name="path">For messages.</param>
    /// <param name="fileLength">Of the whole file.</param>
    /// <param name="shard">Index of the shard, for the entries.</param>
    /// <param name="metadata">As for <see cref="Read"/>.</param>
    public static List<TensorEntry> Parse(ReadOnlySpan<byte> json, string path, long fileLength, int shard, IDictionary<string, string>? metadata = null)
    {
        var entries = new List<TensorEntry>();
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 4 });
            var parser = new EntryParser(path, 8 + json.Length, fileLength, shard);
            Expect(reader.Read() && reader.TokenType == JsonTokenType.StartObject, path, null, "Expected a JSON object as header.");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals("__metadata__"u8))
                {
                    reader.Read();
                    Expect(reader.TokenType == JsonTokenType.StartObject, path, "__metadata__", "Expected a JSON object.");
                    ReadMetadata(ref reader, metadata);
                    continue;
                }

                entries.Add(parser.Parse(ref reader));
            }

            // Consumes the padding, and refuses anything else behind the object.
            while (reader.Read())
            {
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException is how the reader reports text that is not valid UTF-8.
            throw new CheckpointException(path, null, $"The header is not valid JSON: {e.Message}", innerException: e);
        }

        CheckLayout(entries, path, 8 + json.Length, fileLength);
        return entries;
    }

    /// <summary>Throws unless a condition holds. The problem's text is made only then: headers have hundreds of thousands of entries.</summary>
    internal static void Expect(bool condition, string path, string? tensor, [InterpolatedStringHandlerArgument(nameof(condition))] ref ProblemText problem)
    {
        if (!condition)
        {
            throw new CheckpointException(path, tensor, problem.ToStringAndClear());
        }
    }

    /// <inheritdoc cref="Expect(bool, string, string?, ref ProblemText)"/>
    internal static void Expect(bool condition, string path, string? tensor, string problem, string? remedy = null)
    {
        if (!condition)
        {
            throw new CheckpointException(path, tensor, problem, remedy);
        }
    }

    /// <summary>An interpolated text that is put together only where a condition failed.</summary>
    [InterpolatedStringHandler]
    internal ref struct ProblemText
    {
        private DefaultInterpolatedStringHandler _text;

        public ProblemText(int literalLength, int formattedCount, bool condition, out bool wanted)
        {
            wanted = !condition;
            _text = wanted ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string value) => _text.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);

        public void AppendFormatted<T>(T value, string? format) => _text.AppendFormatted(value, format);

        public string ToStringAndClear() => _text.ToStringAndClear();
    }

    /// <summary>Goes to the object's end; what is no text is left out.</summary>
    private static void ReadMetadata(ref Utf8JsonReader reader, IDictionary<string, string>? metadata)
    {
        if (metadata is null)
        {
            reader.Skip();
            return;
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            reader.Read();
            if (reader.TokenType == JsonTokenType.String)
            {
                metadata.TryAdd(key, reader.GetString()!);
            }
            else
            {
                reader.Skip();
            }
        }
    }

    /// <summary>Names are unique, and ranges follow one another from the header's end to the file's.</summary>
    private static void CheckLayout(List<TensorEntry> entries, string path, long dataStart, long fileLength)
    {
        var names = new HashSet<string>(entries.Count, StringComparer.Ordinal);
        foreach (TensorEntry entry in entries)
        {
            Expect(names.Add(entry.Name), path, entry.Name, "The header lists this tensor twice.");
        }

        List<TensorEntry> ordered = [.. entries.OrderBy(e => e.Offset).ThenBy(e => e.Length)];
        long end = dataStart;
        foreach (TensorEntry entry in ordered)
        {
            if (entry.Offset != end)
            {
                string what = entry.Offset < end ? "overlaps the tensor before it" : "leaves a hole behind the tensor before it";
                throw new CheckpointException(path, entry.Name, $"Its data {what}: expected to begin at byte {end:N0} of the file, found {entry.Offset:N0}.");
            }

            end += entry.Length;
        }

        Expect(end == fileLength, path, null, $"Expected {end:N0} bytes by the header, found {fileLength:N0}: the download is incomplete or damaged.");
    }

    /// <summary>Reads one <c>"name": {"dtype": …, "shape": […], "data_offsets": [begin, end]}</c>.</summary>
    private readonly ref struct EntryParser(string path, long dataStart, long fileLength, int shard)
    {
        private const int MaxDimensions = 8;
        private const int MaxNameLength = 1024;

        public TensorEntry Parse(ref Utf8JsonReader reader)
        {
            Expect(reader.ValueSpan.Length <= MaxNameLength, path, null, $"A tensor's name has {reader.ValueSpan.Length:N0} bytes; at most {MaxNameLength:N0} are allowed.");
            string name = reader.GetString()!;
            reader.Read();
            Expect(reader.TokenType == JsonTokenType.StartObject, path, name, "Expected a JSON object.");
            ElementType? type = null;
            long[]? shape = null;
            long[]? offsets = null;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals("dtype"u8))
                {
                    Expect(type is null, path, name, "It has two dtypes.");
                    type = ReadType(ref reader, name);
                }
                else if (reader.ValueTextEquals("shape"u8))
                {
                    Expect(shape is null, path, name, "It has two shapes.");
                    shape = ReadNumbers(ref reader, name, "shape", MaxDimensions);
                }
                else if (reader.ValueTextEquals("data_offsets"u8))
                {
                    Expect(offsets is null, path, name, "It has two data_offsets.");
                    offsets = ReadNumbers(ref reader, name, "data_offsets", 2);
                }
                else
                {
                    reader.Skip();
                }
            }

            Expect(type is not null && shape is not null && offsets is { Length: 2 }, path, name, "Expected dtype, shape and two data_offsets.");
            return Check(name, type!.Value, shape!, offsets![0], offsets[1]);
        }

        private TensorEntry Check(string name, ElementType type, long[] shape, long begin, long end)
        {
            long available = fileLength - dataStart;
            Expect(begin <= end && end <= available, path, name, $"Its data_offsets are [{begin}, {end}], but {available:N0} bytes follow the header.");
            long bytes = type.Bytes();
            foreach (long extent in shape)
            {
                // No legitimate tensor is larger than its file, so the product cannot overflow here.
                Expect(extent == 0 || bytes <= available / extent, path, name, $"Its shape [{string.Join(", ", shape)}] needs more bytes than the file has.");
                bytes *= extent;
            }

            Expect(bytes == end - begin, path, name, $"Expected {bytes:N0} bytes for {type.Name()} [{string.Join(", ", shape)}], found {end - begin:N0}.");
            return new TensorEntry(name, type, shape, dataStart + begin, bytes, shard);
        }

        private ElementType ReadType(ref Utf8JsonReader reader, string name)
        {
            reader.Read();
            Expect(reader.TokenType == JsonTokenType.String, path, name, "Expected a text as dtype.");
            ReadOnlySpan<byte> text = reader.ValueSpan;
            if (!ElementTypes.TryParse(text, out ElementType type))
            {
                if (ElementTypes.IsUnsupported(text))
                {
                    throw new CheckpointException(path, name, $"Its dtype is '{reader.GetString()}'.", "This form of weights is not supported.") { IsIntact = true };
                }

                string shown = text.Length <= 32 ? $"'{reader.GetString()}'" : $"a text of {text.Length:N0} bytes";
                throw new CheckpointException(path, name, $"Its dtype is {shown}, which is unknown.");
            }

            return type;
        }

        private long[] ReadNumbers(ref Utf8JsonReader reader, string name, string field, int most)
        {
            reader.Read();
            Expect(reader.TokenType == JsonTokenType.StartArray, path, name, $"Expected an array as {field}.");
            Span<long> numbers = stackalloc long[most];
            int count = 0;
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                long number = -1;
                bool valid = reader.TokenType == JsonTokenType.Number && reader.TryGetInt64(out number) && number >= 0;
                Expect(valid, path, name, $"Expected whole numbers of at least 0 in {field}.");
                Expect(count < most, path, name, $"Expected at most {most} numbers in {field}.");
                numbers[count++] = number;
            }

            return numbers[..count].ToArray();
        }
    }
}
