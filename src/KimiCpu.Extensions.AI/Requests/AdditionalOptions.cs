// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// The options that <see cref="ChatOptions"/> has no member for, by their keys in <see cref="ChatOptions.AdditionalProperties"/>.
/// Values may be numbers of any type, or JSON.
/// </summary>
internal static class AdditionalOptions
{
    private const string MaxReasoningTokens = "max_reasoning_tokens";

    /// <summary>What each key does, in the names that servers for language models use.</summary>
    private static readonly Dictionary<string, Func<GenerationOptions, object, GenerationOptions>> s_keys = new(StringComparer.OrdinalIgnoreCase)
    {
        ["min_p"] = (o, v) => o with { MinP = (float)Number(v) },
        ["repetition_penalty"] = (o, v) => o with { RepetitionPenalty = (float)Number(v) },
        [MaxReasoningTokens] = (o, v) => o with { MaxReasoningTokens = WholeNumber(v) },
        ["thinking"] = (o, v) => ReasoningReader.Switch(o, Flag(v)),
        ["preserve_thinking"] = (o, v) => o with { PreserveThinking = Flag(v) },
        ["constrain_tool_arguments"] = (o, v) => o with { ConstrainToolArguments = Flag(v) },
        ["allow_unenforceable_tools"] = (o, v) => o with { AllowUnenforceableTools = Flag(v) },
        ["logprobs"] = (o, v) => o with { LogProbabilities = Flag(v) },
        ["top_logprobs"] = (o, v) => o with { TopLogProbabilities = WholeNumber(v) },
    };

    /// <exception cref="NotSupportedException">A key is not known.</exception>
    /// <exception cref="ArgumentException">A value has another type.</exception>
    public static GenerationOptions Read(AdditionalPropertiesDictionary? properties, GenerationOptions generation)
    {
        // A budget that is given is the budget, whichever of the keys comes first.
        foreach ((string key, object? value) in (properties ?? []).OrderBy(p => string.Equals(p.Key, MaxReasoningTokens, StringComparison.OrdinalIgnoreCase)))
        {
            if (!s_keys.TryGetValue(key, out Func<GenerationOptions, object, GenerationOptions>? apply))
            {
                throw new NotSupportedException($"ChatOptions.AdditionalProperties: there is no option '{key}'. There are {string.Join(", ", s_keys.Keys)}; for others use RawRepresentationFactory.");
            }

            if (value is null or JsonElement { ValueKind: JsonValueKind.Null })
            {
                continue;
            }

            try
            {
                generation = apply(generation, value);
            }
            catch (Exception e) when (e is FormatException or InvalidCastException or OverflowException or InvalidOperationException)
            {
                throw RequestArgument.Options($"ChatOptions.AdditionalProperties: '{key}' cannot be {value} ({value.GetType()}).", e);
            }
        }

        return generation;
    }

    private static double Number(object value) =>
        value is JsonElement json ? json.GetDouble() : value is string or bool ? throw new InvalidCastException() : Convert.ToDouble(value, CultureInfo.InvariantCulture);

    /// <summary>A part of one is not rounded: 0.4 tokens would be none.</summary>
    private static int WholeNumber(object value) => Number(value) is var number && double.IsInteger(number) ? checked((int)number) : throw new FormatException();

    private static bool Flag(object value) => value is JsonElement json ? json.GetBoolean() : (bool)value;
}
