// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Globalization;
using System.IO.Hashing;

namespace KimiCpu.Cpu;

/// <summary>
/// Keeps decayed use counts in a file from run to run, so that a restart begins with the experts that were used most. One
/// file for each model. A file that is damaged, foreign or out of reach is as good as none.
/// </summary>
/// <param name="path">The file.</param>
/// <param name="model">Tells models apart.</param>
internal sealed class ExpertStatistics(string path, UInt128 model)
{
    private const int Version = 1;

    /// <summary>Magic, version, keys, model, <see cref="UseCounts.Most"/>.</summary>
    private const int HeaderBytes = 8 + (2 * sizeof(int)) + 16 + sizeof(double);

    private static ReadOnlySpan<byte> Magic => "KimiEx\r\n"u8;

    /// <summary><c>kimicpu/experts/MODEL.uses</c> among the user's local data; null where the system has no such place.</summary>
    public static ExpertStatistics? OfUser(UInt128 model) =>
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify) is { Length: > 0 } folder
            ? new ExpertStatistics(Path.Combine(folder, "kimicpu", "experts", model.ToString("x32", CultureInfo.InvariantCulture) + ".uses"), model)
            : null;

    /// <summary>The experts with the highest counts, highest first; those that have never been used are left out.</summary>
    /// <param name="counts">Of all experts.</param>
    /// <param name="count">Most keys to return.</param>
    public static IReadOnlyList<int> Hottest(UseCounts counts, int count) =>
        [.. Enumerable.Range(0, counts.Keys).Where(k => counts.Rank(k) > UseCounts.Never).OrderByDescending(counts.Rank).Take(count)];

    /// <summary>Takes the file's counts over.</summary>
    /// <param name="counts">Stays as it is where nothing could be read.</param>
    /// <returns>Why nothing was read, for the log; null when all went well.</returns>
    public string? Load(UseCounts counts)
    {
        try
        {
            long expected = BytesOf(counts.Keys);
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            if (file.Length != expected)
            {
                return Ignored($"it has {file.Length:N0} bytes, and the counts of {counts.Keys:N0} experts have {expected:N0}");
            }

            var bytes = new byte[expected];
            file.ReadExactly(bytes);
            return Read(bytes, counts) is { } problem ? Ignored(problem) : null;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return $"There are no counts of earlier runs in '{path}'.";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            return Ignored(e.Message);
        }
    }

    /// <summary>Replaces the file.</summary>
    /// <returns>Why it could not be written, for the log; null when all went well.</returns>
    public string? Save(UseCounts counts)
    {
        string beside = $"{path}.{Guid.NewGuid():N}";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            File.WriteAllBytes(beside, Write(counts));
            File.Move(beside, path, overwrite: true);
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            Delete(beside);
            return $"The counts of the experts' uses could not be written to '{path}': {e.Message}";
        }
    }

    private static long BytesOf(int keys) => HeaderBytes + ((long)keys * sizeof(double)) + sizeof(ulong);

    private static void Delete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It was never there, or stays.
        }
    }

    private string Ignored(string problem) => $"The counts of earlier runs in '{path}' are ignored: {problem.TrimEnd('.')}.";

    private byte[] Write(UseCounts counts)
    {
        var values = new double[counts.Keys];
        counts.Export(values);
        var bytes = new byte[BytesOf(counts.Keys)];
        Span<byte> rest = bytes;
        Magic.CopyTo(rest);
        BinaryPrimitives.WriteInt32LittleEndian(rest[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(rest[12..], counts.Keys);
        BinaryPrimitives.WriteUInt128LittleEndian(rest[16..], model);
        BinaryPrimitives.WriteDoubleLittleEndian(rest[32..], counts.Most);
        for (int key = 0; key < values.Length; key++)
        {
            BinaryPrimitives.WriteDoubleLittleEndian(rest[(HeaderBytes + (key * sizeof(double)))..], values[key]);
        }

        BinaryPrimitives.WriteUInt64LittleEndian(rest[^sizeof(ulong)..], XxHash3.HashToUInt64(rest[..^sizeof(ulong)]));
        return bytes;
    }

    private string? Read(ReadOnlySpan<byte> bytes, UseCounts counts)
    {
        if (!bytes.StartsWith(Magic) || BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]) != Version || BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]) != counts.Keys)
        {
            return $"it does not begin as version {Version} of the counts of {counts.Keys:N0} experts does";
        }

        if (BinaryPrimitives.ReadUInt128LittleEndian(bytes[16..]) != model)
        {
            return "it belongs to another model";
        }

        if (BinaryPrimitives.ReadUInt64LittleEndian(bytes[^sizeof(ulong)..]) != XxHash3.HashToUInt64(bytes[..^sizeof(ulong)]))
        {
            return "its checksum is wrong";
        }

        var values = new double[counts.Keys];
        for (int key = 0; key < values.Length; key++)
        {
            values[key] = BinaryPrimitives.ReadDoubleLittleEndian(bytes[(HeaderBytes + (key * sizeof(double)))..]);
        }

        counts.Import(values, BinaryPrimitives.ReadDoubleLittleEndian(bytes[32..]));
        return null;
    }
}
