// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;

namespace KimiCpu.Cpu.Threading;

/// <summary>
/// Remembers thread counts in a small JSON file, each under a text that names all it depends on. A file that is damaged, of
/// another version or out of reach is as good as none.
/// </summary>
internal sealed class ThreadChoiceFile(string path)
{
    private const int Version = 1;
    private const int MostChoices = 100;
    private const string VersionName = "version";
    private const string ChoicesName = "choices";
    private const string ThreadsName = "threads";

    /// <summary><c>kimicpu/threads.json</c> among the user's local data; null where the system has no such place.</summary>
    public static ThreadChoiceFile? OfUser { get; } =
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify) is { Length: > 0 } folder
            ? new ThreadChoiceFile(Path.Combine(folder, "kimicpu", "threads.json"))
            : null;

    /// <summary>The count under a key, if it is one of 1 … <paramref name="most"/>.</summary>
    public int? Find(string key, int most)
    {
        try
        {
            int? threads = (int?)Read()?[key]?[ThreadsName];
            return threads >= 1 && threads <= most ? threads : null;
        }
        catch (Exception)
        {
            return null;
        }
    }

    /// <summary>False where it could not be written.</summary>
    public bool TryRemember(string key, ThreadChoice choice)
    {
        string beside = $"{path}.{Guid.NewGuid():N}";
        try
        {
            JsonObject choices = ReadOrNew();
            choices.Remove(key);
            while (choices.Count >= MostChoices)
            {
                choices.RemoveAt(0);
            }

            var milliseconds = new JsonObject();
            foreach (ThreadTiming timing in choice.Timings)
            {
                milliseconds[timing.Threads.ToString(System.Globalization.CultureInfo.InvariantCulture)] = 1e3 * timing.Seconds;
            }

            choices[key] = new JsonObject { [ThreadsName] = choice.Threads, ["milliseconds"] = milliseconds };
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            using (FileStream stream = File.Create(beside))
            using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
            {
                new JsonObject { [VersionName] = Version, [ChoicesName] = choices }.WriteTo(writer);
            }

            File.Move(beside, path, overwrite: true);
            return true;
        }
        catch (Exception)
        {
            Delete(beside);
            return false;
        }
    }

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

    private JsonObject ReadOrNew()
    {
        try
        {
            return Read() ?? [];
        }
        catch (Exception)
        {
            return [];
        }
    }

    private JsonObject? Read()
    {
        JsonObject? file = JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject;
        if (file is null || (int?)file[VersionName] != Version || file[ChoicesName] is not JsonObject choices)
        {
            return null;
        }

        // Keys that are there twice show up when the keys are first asked for, and not later.
        _ = choices.Count;
        file.Remove(ChoicesName);
        return choices;
    }
}
