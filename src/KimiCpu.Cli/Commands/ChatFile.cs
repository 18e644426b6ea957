// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;
using KimiCpu.Sessions;

namespace KimiCpu.Cli.Commands;

/// <summary>The file of <c>kimi chat --session</c>: a saved session, with the messages of its conversation as its application's data.</summary>
internal static class ChatFile
{
    /// <summary>What can be known of the file before there is a model, whose opening may take an hour.</summary>
    /// <exception cref="SessionFileException">It is no session.</exception>
    /// <exception cref="IOException">Nothing could be saved there.</exception>
    public static void Check(string path)
    {
        OutputFile.CheckPlace("--session", path, ownersOnly: true);
        if (File.Exists(path))
        {
            SessionReader.CheckBeginning(path);
        }
    }

    /// <summary>Goes on with the file, or begins a session where there is none.</summary>
    /// <param name="model">Of the session.</param>
    /// <param name="path">The file; null for none.</param>
    /// <param name="streams">Where progress is shown.</param>
    /// <param name="messages">The file's; null where there is none.</param>
    /// <exception cref="SessionFileException">It is no conversation, or not this model's.</exception>
    public static KimiSession Open(IKimiModel model, string? path, CliStreams streams, out IReadOnlyList<KimiMessage>? messages)
    {
        messages = null;
        if (path is null)
        {
            return model.CreateSession();
        }

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

    /// <exception cref="OperationCanceledException">The token was cancelled; the file is as it was.</exception>
    public static void Save(string path, KimiSession session, IReadOnlyList<KimiMessage> messages, CliStreams streams, CancellationToken cancellationToken)
    {
        using var progress = new ProgressLine(streams, "Saving the session (Ctrl-C leaves it)");
        session.ApplicationData = Encoding.UTF8.GetBytes(JsonText.Write(json =>
        {
            json.WriteStartArray("messages");
            foreach (KimiMessage message in messages)
            {
                json.WriteStartObject();
                json.WriteString("role", message.Role.ToString());
                json.WriteString("content", message.Content);
                WriteReasoning(json, message);
                WriteTokens(json, message);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }));
        session.Save(path, progress, cancellationToken);
    }

    /// <summary>It is shown to the model again where that is asked for.</summary>
    private static void WriteReasoning(Utf8JsonWriter json, KimiMessage message)
    {
        if (message.Reasoning is { } reasoning)
        {
            json.WriteString("reasoning", reasoning);
        }
    }

    /// <summary>Without them an answer's text would be encoded anew, and where that gives other tokens, all behind it would be computed again.</summary>
    private static void WriteTokens(Utf8JsonWriter json, KimiMessage message)
    {
        if (message.GeneratedTokens is { } tokens)
        {
            json.WriteStartArray("tokens");
            foreach (int token in tokens)
            {
                json.WriteNumberValue(token);
            }

            json.WriteEndArray();
        }
    }

    private static List<KimiMessage> Read(string path, ReadOnlyMemory<byte> data)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(data);
            return [.. json.RootElement.GetProperty("messages").EnumerateArray().Select(Read)];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or ArgumentException or FormatException)
        {
            throw new SessionFileException(path, "The session holds no conversation of `kimi chat`: another program has saved it, and it has to go on with it.");
        }
    }

    /// <summary>Files of earlier versions have neither reasoning nor tokens.</summary>
    private static KimiMessage Read(JsonElement message) =>
        new(Enum.Parse<KimiRole>(message.GetProperty("role").GetString()!), message.GetProperty("content").GetString()!)
        {
            Reasoning = message.TryGetProperty("reasoning", out JsonElement reasoning) ? reasoning.GetString() : null,
            GeneratedTokens = message.TryGetProperty("tokens", out JsonElement tokens) ? [.. tokens.EnumerateArray().Select(t => t.GetInt32())] : null,
        };
}
