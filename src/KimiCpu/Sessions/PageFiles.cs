// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Sessions;

/// <summary>
/// A folder of pages, one in a file, of any number of models and with one owner at a time. Holds at most so many bytes: the least recently used files go first, and of one text the last
/// ones. Nothing but files of pages is touched in it. What cannot be read is not there; where one cannot be written no more are. Safe for all threads.
/// </summary>
internal sealed class PageFiles : IDisposable
{
    private const string Ending = ".kvpage";
    private const string Unfinished = ".unfinished";
    private const int BlockBytes = 4096;

    private static readonly SearchValues<char> s_digits = SearchValues.Create("0123456789abcdef");

    private readonly string _folder;
    private readonly long _limit;
    private readonly ILogger _logger;
    private readonly Func<string, FileStreamOptions, Stream> _open;
    private readonly FileStream _lock;
    private readonly object _gate = new();
    private readonly Dictionary<string, Entry> _entries = [];
    private readonly SortedSet<Entry> _byUse = new(Comparer<Entry>.Create(InOrderOfLeaving));
    private long _bytes;
    private volatile bool _isFull;

    private PageFiles(string folder, long limit, ILogger logger, FileStream held, Func<string, FileStreamOptions, Stream>? open)
    {
        (_folder, _limit, _logger, _lock) = (folder, limit, logger, held);
        _open = open ?? ((path, options) => new FileStream(path, options));
        foreach (FileInfo file in new DirectoryInfo(folder).EnumerateFiles())
        {
            TakeIn(file);
        }

        MakeRoom(0);
    }

    /// <summary>Files of pages, and their bytes on the drive.</summary>
    public (int Count, long Bytes) Size
    {
        get
        {
            lock (_gate)
            {
                return (_entries.Count, _bytes);
            }
        }
    }

    /// <summary>Whether another page may be written.</summary>
    public bool TakesMore => !_isFull;

    /// <param name="folder">Made where it does not exist, for the user alone.</param>
    /// <param name="limit">Most bytes of all pages.</param>
    /// <param name="logger">Told of what is wrong with files, and where the folder has another owner.</param>
    /// <param name="open">Opens files; another than the system's for tests.</param>
    /// <returns>Null where another owner has the folder.</returns>
    /// <exception cref="KimiException">The folder cannot be made, read or written to.</exception>
    public static PageFiles? Open(string folder, long limit, ILogger logger, Func<string, FileStreamOptions, Stream>? open = null)
    {
        folder = Path.GetFullPath(folder);
        FileStream? held = null;
        try
        {
            MakeFolder(folder);
            held = TryHold(Path.Combine(folder, "owner.lock"));
            if (held is null)
            {
                KimiLog.Warned(logger, $"The folder for the prompt cache, '{folder}', is in use by another process or model, so this one does without. A folder has one owner at a time: give this one another (KimiModelOptions.PromptCacheDirectory), or end the other one and open the model again.");
                return null;
            }

            return new PageFiles(folder, limit, logger, held, open);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            held?.Dispose();
            throw new KimiException($"The folder for the prompt cache (KimiModelOptions.PromptCacheDirectory), '{folder}', cannot be used: {e.Message} Name a folder that this user may write to, or leave the option out.", e);
        }
    }

    public bool Contains(byte[] key)
    {
        lock (_gate)
        {
            return _entries.ContainsKey(NameOf(key));
        }
    }

    /// <summary>Notes that all pages of a text are used now.</summary>
    public void Touch(IEnumerable<byte[]> keys)
    {
        long now = DateTime.UtcNow.Ticks;
        lock (_gate)
        {
            foreach (byte[] key in keys)
            {
                if (_entries.TryGetValue(NameOf(key), out Entry? entry))
                {
                    _byUse.Remove(entry);
                    (entry.Use, entry.IsChanged) = (now, true);
                    _byUse.Add(entry);
                }
            }
        }
    }

    /// <summary>Reads a page.</summary>
    /// <returns>False where it is not there any more, or damaged; it is gone then.</returns>
    public bool TryRead(byte[] key, Span<byte> page)
    {
        Entry? entry;
        lock (_gate)
        {
            if (!_entries.TryGetValue(NameOf(key), out entry))
            {
                return false;
            }
        }

        string path = PathOf(entry);
        string? problem;
        try
        {
            using Stream file = _open(path, new FileStreamOptions { Mode = FileMode.Open, Access = FileAccess.Read, Share = FileShare.Read | FileShare.Delete, BufferSize = 0, Options = FileOptions.SequentialScan });
            problem = PageFileFormat.Read(file, key, page);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            problem = e.Message;
        }

        if (problem is null)
        {
            return true;
        }

        bool wasKnown;
        lock (_gate)
        {
            wasKnown = Forget(entry);
        }

        if (wasKnown)
        {
            // Else it has made room for others meanwhile.
            KimiLog.PageDropped(_logger, path, problem);
            TryDelete(path);
        }

        return false;
    }

    /// <summary>Keeps a page, where there is room for it or less used ones make room.</summary>
    /// <param name="key">Of the page.</param>
    /// <param name="parent">Of the one before it, as recently used as which it is.</param>
    /// <param name="depth">Pages before it.</param>
    /// <param name="page">Its contents.</param>
    public void Write(byte[] key, byte[] parent, int depth, ReadOnlySpan<byte> page)
    {
        var entry = new Entry(NameOf(key), depth, RoundUp(PageFileFormat.FileBytes(page.Length)));
        if (_isFull || entry.Bytes > _limit || Contains(key))
        {
            return;
        }

        string path = PathOf(entry);
        string beside = path + Unfinished;
        try
        {
            MakeRoom(entry.Bytes);
            lock (_gate)
            {
                entry.Use = _entries.TryGetValue(NameOf(parent), out Entry? before) ? before.Use : DateTime.UtcNow.Ticks;
            }

            // Not waited for until it is on the drive: what a power cut makes of it is found out by its checksum.
            using (Stream file = _open(beside, OwnersOnly(FileMode.Create)))
            {
                PageFileFormat.Write(file, key, page);
            }

            File.SetLastWriteTimeUtc(beside, new DateTime(entry.Use, DateTimeKind.Utc));
            File.Move(beside, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            TryDelete(beside);
            _isFull = true;
            KimiLog.Warned(_logger, $"The prompt cache in '{_folder}' takes in nothing more until the model is opened again, since a page could not be written: {e.Message} What it has is still read. Free space on the drive, or lower KimiModelOptions.PromptCacheBytes.");
            return;
        }

        lock (_gate)
        {
            Add(entry);
        }
    }

    /// <summary>Leaves behind when each file was used, and gives the folder up.</summary>
    public void Dispose()
    {
        Entry[] changed;
        lock (_gate)
        {
            changed = [.. _byUse.Where(e => e.IsChanged)];
            Array.ForEach(changed, e => e.IsChanged = false);
        }

        foreach (Entry entry in changed)
        {
            try
            {
                File.SetLastWriteTimeUtc(PathOf(entry), new DateTime(entry.Use, DateTimeKind.Utc));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It goes earlier than it should, and is computed again.
            }
        }

        _lock.Dispose();
    }

    private static void MakeFolder(string folder)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(folder);
        }
        else
        {
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private static FileStreamOptions OwnersOnly(FileMode mode)
    {
        var options = new FileStreamOptions { Mode = mode, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 0 };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return options;
    }

    private static FileStream? TryHold(string path)
    {
        try
        {
            return new FileStream(path, OwnersOnly(FileMode.OpenOrCreate));
        }
        catch (IOException) when (File.Exists(path))
        {
            return null;
        }
    }

    private static string NameOf(byte[] key) => Convert.ToHexStringLower(key);

    private static long RoundUp(long bytes) => (bytes + BlockBytes - 1) / BlockBytes * BlockBytes;

    /// <summary>Of pages that were used at once the last of a text go first, since nothing is found behind one that is gone.</summary>
    private static int InOrderOfLeaving(Entry a, Entry b)
    {
        int order = a.Use.CompareTo(b.Use);
        order = order != 0 ? order : b.Depth.CompareTo(a.Depth);
        return order != 0 ? order : string.CompareOrdinal(a.Name, b.Name);
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is written anew where the drive lets it be, and never believed.
        }
    }

    private string PathOf(Entry entry) => Path.Combine(_folder, $"{entry.Name}-{entry.Depth.ToString(CultureInfo.InvariantCulture)}{Ending}");

    /// <summary>Takes in a file that was there. What a process that was killed has left unfinished is deleted: nobody else writes here.</summary>
    private void TakeIn(FileInfo file)
    {
        string name = file.Name;
        bool isUnfinished = name.EndsWith(Ending + Unfinished, StringComparison.Ordinal);
        name = isUnfinished ? name[..^Unfinished.Length] : name;
        int dash = PageFileFormat.KeyBytes * 2;
        if (!name.EndsWith(Ending, StringComparison.Ordinal) || name.Length <= dash || name[dash] != '-' || name.AsSpan(0, dash).ContainsAnyExcept(s_digits)
            || !int.TryParse(name.AsSpan(dash + 1, name.Length - Ending.Length - dash - 1), NumberStyles.None, CultureInfo.InvariantCulture, out int depth))
        {
            return;
        }

        if (isUnfinished)
        {
            TryDelete(file.FullName);
            return;
        }

        var entry = new Entry(name[..dash], depth, RoundUp(file.Length)) { Use = file.LastWriteTimeUtc.Ticks };
        if (!_entries.ContainsKey(entry.Name))
        {
            Add(entry);
        }
    }

    private void Add(Entry entry)
    {
        _entries.Add(entry.Name, entry);
        _byUse.Add(entry);
        _bytes += entry.Bytes;
    }

    private bool Forget(Entry entry)
    {
        if (!_entries.Remove(entry.Name))
        {
            return false;
        }

        _byUse.Remove(entry);
        _bytes -= entry.Bytes;
        return true;
    }

    private void MakeRoom(long bytes)
    {
        while (true)
        {
            Entry? leaving;
            lock (_gate)
            {
                if (_bytes + bytes <= _limit || (leaving = _byUse.Min) is null)
                {
                    return;
                }

                Forget(leaving);
            }

            TryDelete(PathOf(leaving));
        }
    }

    private sealed class Entry(string name, int depth, long bytes)
    {
        public string Name => name;

        /// <summary>Pages before it.</summary>
        public int Depth => depth;

        /// <summary>Of whole blocks of a drive.</summary>
        public long Bytes => bytes;

        /// <summary>When it was used last, in ticks.</summary>
        public long Use { get; set; }

        /// <summary>Whether the file does not know of that yet.</summary>
        public bool IsChanged { get; set; }
    }
}
