// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// A folder that is written beside its place and moved there when it is whole. What a process that was killed has left of one is deleted by who makes the next beside it,
/// a minute later: a checkpoint may take as much of the drive as there is. Who writes one holds a file in it.
/// </summary>
internal sealed class UnfinishedFolder : IDisposable
{
    private const string Ending = ".unfinished";
    private const string Held = "held";

    /// <summary>One that was made this moment, or let go to be moved, is held by nobody either.</summary>
    private static readonly TimeSpan s_rest = TimeSpan.FromMinutes(1);

    private readonly string _place;
    private readonly FileStream _held;

    /// <param name="place">Where it will be; its parent is there.</param>
    public UnfinishedFolder(string place)
    {
        _place = place;
        DeleteAbandoned(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(place))!);
        Path = $"{place}.{Guid.NewGuid():N}{Ending}";
        Directory.CreateDirectory(Path);
        _held = new FileStream(System.IO.Path.Combine(Path, Held), FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.DeleteOnClose);
    }

    /// <summary>Where it is written.</summary>
    public string Path { get; }

    /// <summary>
    /// Moves it to its place, once its files have reached the drive: after a power cut nobody would look into them again. That may take longer than what nobody holds is left alone.
    /// Where another process has finished the same meanwhile, that one stays.
    /// </summary>
    public void Finish()
    {
        foreach (string file in Directory.GetFiles(Path).Where(f => System.IO.Path.GetFileName(f) != Held))
        {
            using SafeFileHandle handle = File.OpenHandle(file, FileMode.Open, FileAccess.ReadWrite);
            RandomAccess.FlushToDisk(handle);
        }

        _held.Dispose();
        try
        {
            Directory.Move(Path, _place);
        }
        catch (IOException) when (Directory.Exists(_place))
        {
            // This one is deleted with what was not finished.
        }
    }

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose()
    {
        _held.Dispose();
        if (Directory.Exists(Path))
        {
            Directory.Delete(Path, recursive: true);
        }
    }

    private static void DeleteAbandoned(string parent)
    {
        foreach (string folder in Directory.GetDirectories(parent, $"*{Ending}").Where(IsOurs))
        {
            try
            {
                if (DateTime.UtcNow - Directory.GetLastWriteTimeUtc(folder) > s_rest && !IsHeld(folder))
                {
                    Directory.Delete(folder, recursive: true);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It is another user's.
            }
        }
    }

    private static bool IsHeld(string folder)
    {
        string held = System.IO.Path.Combine(folder, Held);
        try
        {
            using var file = new FileStream(held, FileMode.Open, FileAccess.Write, FileShare.None, bufferSize: 0);
            return false;
        }
        catch (FileNotFoundException)
        {
            return false;
        }
        catch (IOException)
        {
            return true;
        }
    }

    private static bool IsOurs(string folder)
    {
        string[] parts = System.IO.Path.GetFileName(folder).Split('.');
        return parts is [.., var id, _] && Guid.TryParseExact(id, "N", out _);
    }
}
