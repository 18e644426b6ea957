// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Holds the answer to the format that is asked for.</summary>
internal static class FormatReader
{
    /// <exception cref="NotSupportedException">The format is not known.</exception>
    public static GenerationOptions Read(ChatResponseFormat? format, GenerationOptions generation) => format switch
    {
        null or ChatResponseFormatText => generation,
        _ => throw new NotSupportedException($"ChatOptions.ResponseFormat ({format.GetType().Name}): use ChatResponseFormat.Text."),
    };
}
