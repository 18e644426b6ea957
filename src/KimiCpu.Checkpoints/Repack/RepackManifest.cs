// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Globalization;
using System.Text.Json;

namespace KimiCpu.Checkpoints;

/// <summary>A file that has been written and read back.</summary>
/// <param name="Name">Relative to the folder, with slashes.</param>
/// <param name="Bytes">Its length.</param>
/// <param name="Checksum">XxHash128 of all its bytes, in hexadecimal digits as <c>xxh128sum</c> prints them.</param>
/// <param name="Tensors">The same of each tensor's bytes, by name; empty for files that are no shards.</param>
internal sealed record WrittenFile(string Name, long Bytes, string Checksum, IReadOnlyDictionary<string, string> Tensors);

/// <summary>
/// What has been written into a repacked checkpoint, from which files, and with which checksums. The journal by which a
/// second run goes on, and what stays in the folder afterwards.
/// </summary>
internal sealed class RepackManifest
{
    public const string File = "kimi-repack.json";

    /// <summary>Held by the run that writes to the folder.</summary>
    public const string LockFile = File + ".lock";

    private const int Format = 1;

    /// <summary>More than any checkpoint has, and so few that their megabytes are a number.</summary>
    private const long MostBytesWritten = 1L << 50;

    public RepackManifest(IReadOnlyList<SourceFile> source) => Source = source;

    public IReadOnlyList<SourceFile> Source { get; }

    /// <summary>By name.</summary>
    public Dictionary<string, WrittenFile> Written { get; } = new(StringComparer.Ordinal);

    public bool IsComplete { get; set; }

    /// <summary>Whether a file is the lock, or a journal that was not written to its end.</summary>
    public static bool IsBesideJournal(string name) => name.StartsWith(File + ".", StringComparison.Ordinal);

    /// <summary>That of a folder; null where it holds none.</summary>
    /// <exception cref="CheckpointException">The file is damaged, or of another version.</exception>
    public static RepackManifest? TryRead(string folder)
    {
        var files = new FolderCheckpointFiles(folder);
        if (!files.Exists(File))
        {
            return null;
        }

        string inside = RepackFolder.Inside(Path.GetFullPath(folder));
        try
        {
            using JsonDocument document = JsonDocument.Parse(files.ReadAll(File));
            JsonElement root = document.RootElement;
            int format = root.GetProperty("format").GetInt32();
            if (format != Format)
            {
                throw new CheckpointException(files.PathOf(File), null, $"The file has format {format}; this version writes format {Format}.", "Go on with the version that wrote it, or delete what the folder holds and repack again.");
            }

            SourceFile[] source = [.. root.GetProperty("source").EnumerateArray().Select(ReadSource)];
            if (source.DistinctBy(f => f.Name).Count() != source.Length)
            {
                throw new FormatException("A file of the source is listed twice.");
            }

            long bytes = 0;
            var manifest = new RepackManifest(source) { IsComplete = root.GetProperty("complete").GetBoolean() };
            foreach (JsonElement file in root.GetProperty("files").EnumerateArray())
            {
                WrittenFile written = ReadWritten(file);
                if (!Path.GetFullPath(files.PathOf(written.Name)).StartsWith(inside, StringComparison.Ordinal))
                {
                    throw new FormatException($"Expected names of files in this folder, found '{written.Name}'.");
                }

                if (written.Bytes < 0 || written.Bytes > MostBytesWritten - bytes)
                {
                    throw new FormatException($"Expected files of at most {MostBytesWritten:N0} bytes in all, found '{written.Name}' of {written.Bytes:N0}.");
                }

                bytes += written.Bytes;
                manifest.Written[written.Name] = written;
            }

            return manifest;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException or ArgumentException)
        {
            throw new CheckpointException(files.PathOf(File), null, $"The file is damaged: {e.Message}", "Delete what the folder holds and repack again.", e);
        }
    }

    /// <summary>What the file takes at most once everything is written: what each entry has around its name, which may be longer as it is escaped, and the name.</summary>
    /// <param name="source">All files of it.</param>
    /// <param name="target">All files that are written.</param>
    public static long MostBytes(IEnumerable<SourceFile> source, IEnumerable<TargetFile> target)
    {
        const int Head = 256;
        const int AroundFile = 256;
        const int AroundTensor = 64;
        static long InJson(string name) => JsonEncodedText.Encode(name).EncodedUtf8Bytes.Length;
        return Head + source.Sum(f => AroundFile + InJson(f.Name)) + target.Sum(f => AroundFile + InJson(f.Name) + f.Tensors.Sum(t => AroundTensor + InJson(t.Name)));
    }

    /// <summary>Written beside its place and moved there, so that it is whole at any time.</summary>
    public void Save(string folder)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("format", Format);
            json.WriteBoolean("complete", IsComplete);
            json.WriteString("checksums", "xxh128");
            json.WriteStartArray("source");
            foreach (SourceFile file in Source)
            {
                json.WriteStartObject();
                json.WriteString("name", file.Name);
                json.WriteNumber("bytes", file.Bytes);
                json.WriteString("written", file.Written.ToString("O", CultureInfo.InvariantCulture));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("files");
            foreach (WrittenFile file in Written.Values)
            {
                Write(json, file);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        using var unfinished = new UnfinishedFile(Path.Combine(folder, File));
        unfinished.Stream.Write(buffer.WrittenSpan);
        unfinished.Finish();
    }

    private static void Write(Utf8JsonWriter json, WrittenFile file)
    {
        json.WriteStartObject();
        json.WriteString("name", file.Name);
        json.WriteNumber("bytes", file.Bytes);
        json.WriteString("checksum", file.Checksum);
        if (file.Tensors.Count > 0)
        {
            json.WriteStartObject("tensors");
            foreach ((string name, string checksum) in file.Tensors)
            {
                json.WriteString(name, checksum);
            }

            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static SourceFile ReadSource(JsonElement file) => new(
        TextOf(file.GetProperty("name")),
        file.GetProperty("bytes").GetInt64(),
        DateTime.Parse(TextOf(file.GetProperty("written")), CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind));

    private static WrittenFile ReadWritten(JsonElement file) => new(
        TextOf(file.GetProperty("name")),
        file.GetProperty("bytes").GetInt64(),
        TextOf(file.GetProperty("checksum")),
        file.TryGetProperty("tensors", out JsonElement tensors)
            ? tensors.EnumerateObject().ToDictionary(p => p.Name, p => TextOf(p.Value), StringComparer.Ordinal)
            : new Dictionary<string, string>());

    private static string TextOf(JsonElement value) => value.GetString() ?? throw new FormatException("Expected a text, found null.");
}
