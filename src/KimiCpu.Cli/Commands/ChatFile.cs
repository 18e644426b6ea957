// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>The file of <c>kimi chat --session</c>: a saved session, with the messages of its conversation as its application's data.</summary>
internal static class ChatFile
{
    /// <summary>Goes on with the file, or begins a session where there is none.</summary>
    /// <exception cref="SessionFileException">It is no conversation, or not this model's.</exception>
    /// <exception cref="IOException">Nothing could be saved there.</exception>
    public static KimiSession Open(IKimiModel model, string? path, CliStreams streams, out IReadOnlyList<KimiMessage> messages)
    {
        messages = [];
        if (path is null)
        {
            return model.CreateSession();
        }

        OutputFile.CheckPlace("--session", path);
        if (!File.Exists(path))
        {
            return model.CreateSession();
        }

        using var progress = new ProgressLine(streams, "Loading the session");
        KimiSession session = model.LoadSession(path, progress);
        try
        {
            messages = Read(path, session.ApplicationData);
            return session;
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    public static void Save(string path, KimiSession session, IReadOnlyList<KimiMessage> messages, CliStreams streams)
    {
        using var progress = new ProgressLine(streams, "Saving the session");
        session.ApplicationData = Encoding.UTF8.GetBytes(JsonText.Write(json =>
        {
            json.WriteStartArray("messages");
            foreach (KimiMessage message in messages)
            {
                json.WriteStartObject();
                json.WriteString("role", message.Role.ToString());
                json.WriteString("content", message.Content);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }));
        session.Save(path, progress);
    }

    private static List<KimiMessage> Read(string path, ReadOnlyMemory<byte> data)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(data);
            return
            [
                .. json.RootElement.GetProperty("messages").EnumerateArray().Select(m =>
                    new KimiMessage(Enum.Parse<KimiRole>(m.GetProperty("role").GetString()!), m.GetProperty("content").GetString()!)),
            ];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or ArgumentException)
        {
            throw new SessionFileException(path, "The session holds no conversation of `kimi chat`: another program has saved it, and it has to go on with it.");
        }
    }
}
