// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using KimiCpu.Chat;

namespace KimiCpu.Server.Answers;

/// <summary>
/// Conversations as short keys, equal for those that say the same: texts to the character, arguments of calls by their values, since clients read them and write them anew.
/// Ids of calls are left out, which the interfaces make up. Nobody finds another conversation to a key, so a key says that all of it is known.
/// </summary>
internal sealed class ConversationKeys : IDisposable
{
    /// <summary>Longer ones than any answer's would take seconds to read, and are known by their text.</summary>
    private const int LongestArguments = 1 << 20;

    private const int None = -1;

    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>The key of a conversation of which there are only the tools.</summary>
    public UInt128 Of(IReadOnlyList<KimiTool> tools)
    {
        foreach (KimiTool tool in tools)
        {
            Add(tool.Name);
            Add(tool.Description);
            Add(tool.Parameters is { } schema ? JsonMarshal.GetRawUtf8Value(schema) : default);
        }

        return End();
    }

    /// <summary>The key of a conversation with one message more.</summary>
    /// <param name="before">The key without it.</param>
    /// <param name="message">The message.</param>
    public UInt128 Next(UInt128 before, KimiMessage message)
    {
        AddValue(before);
        AddValue((int)message.Role);
        Add(message.Name);
        Add(message.Reasoning is { Length: > 0 } reasoning ? reasoning : null);
        Add(message.Content);
        foreach (KimiToolCall call in message.ToolCalls)
        {
            Add(call.Name);
            AddArguments(call.Arguments);
        }

        return End();
    }

    public void Dispose() => _hash.Dispose();

    private UInt128 End()
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        _hash.GetHashAndReset(hash);
        return MemoryMarshal.Read<UInt128>(hash);
    }

    private void AddArguments(string arguments)
    {
        if (arguments.Length > LongestArguments)
        {
            Add(arguments);
            return;
        }

        try
        {
            using JsonDocument values = JsonDocument.Parse(arguments);
            Add(values.RootElement);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Models may write what is no JSON, or half of a surrogate pair, which is no text.
            Add(arguments);
        }
    }

    private void Add(JsonElement value)
    {
        AddValue((int)value.ValueKind);
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                AddValue(value.GetPropertyCount());
                foreach (JsonProperty property in value.EnumerateObject().OrderBy(p => p.Name, StringComparer.Ordinal))
                {
                    Add(property.Name);
                    Add(property.Value);
                }

                break;
            case JsonValueKind.Array:
                AddValue(value.GetArrayLength());
                foreach (JsonElement element in value.EnumerateArray())
                {
                    Add(element);
                }

                break;
            case JsonValueKind.String:
                Add(value.GetString());
                break;
            case JsonValueKind.Number:
                // 1, 1.0 and 1e0 are one number. -0 becomes 0.
                AddValue((value.TryGetDouble(out double number) ? number : double.NaN) + 0.0);
                break;
        }
    }

    private void Add(string? text)
    {
        AddValue(text?.Length ?? None);
        _hash.AppendData(MemoryMarshal.AsBytes(text.AsSpan()));
    }

    private void Add(ReadOnlySpan<byte> json)
    {
        AddValue(json.Length);
        _hash.AppendData(json);
    }

    private void AddValue<T>(T value)
        where T : unmanaged => _hash.AppendData(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
}
