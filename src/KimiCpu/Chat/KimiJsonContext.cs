// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Serialization;

namespace KimiCpu.Chat;

/// <summary>
/// How conversations are written as JSON and read again, without reflection, so that it works in trimmed applications and with NativeAOT too:
/// <c>JsonSerializer.SerializeToUtf8Bytes(messages, KimiJsonContext.Default.ListKimiMessage)</c>. It goes into the
/// <see cref="JsonSerializerOptions.TypeInfoResolverChain"/> of applications that save messages as parts of types of their own.
/// </summary>
[JsonSerializable(typeof(KimiMessage))]
[JsonSerializable(typeof(List<KimiMessage>))]
[JsonSerializable(typeof(IReadOnlyList<KimiMessage>))]
[JsonSerializable(typeof(KimiMessage[]))]
public sealed partial class KimiJsonContext : JsonSerializerContext;
