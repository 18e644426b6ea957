// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// The options that <see cref="ChatOptions"/> has no member for, by their keys in <see cref="ChatOptions.AdditionalProperties"/>.
/// Values may be numbers of any type, or JSON. Frameworks pass one another things under keys of their own there, and those are none of the model's business: they are
/// skipped. What was meant for a model and would have no effect is refused: a key of ours that is misspelt, and an option that other engines have.
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

    /// <summary>Options of other engines, and those that <see cref="ChatOptions"/> has a member for: an answer without them is not the one that was asked for.</summary>
    private static readonly string[] s_others =
    [
        "temperature", "top_k", "top_p", "typical_p", "tfs_z", "seed", "stop", "logit_bias", "frequency_penalty", "presence_penalty", "repeat_penalty", "repeat_last_n",
        "mirostat", "mirostat_tau", "mirostat_eta", "max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "ignore_eos", "num_predict", "num_ctx",
        "max_new_tokens", "max_length", "n_predict", "num_keep", "n", "best_of", "do_sample", "top_a", "xtc_probability", "xtc_threshold", "dry_multiplier", "penalize_newline",
        "stop_sequences", "stop_token_ids", "tool_choice", "parallel_tool_calls", "chat_template_kwargs",
        "response_format", "json_schema", "grammar", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
        "think", "reasoning_effort", "enable_thinking", "thinking_budget",
    ];

    /// <param name="properties">Of the call; null for none.</param>
    /// <param name="generation">What is known before.</param>
    /// <param name="skipped">Gets the keys of others.</param>
    /// <exception cref="NotSupportedException">A key looks like an option and is none.</exception>
    /// <exception cref="ArgumentException">A value has another type.</exception>
    public static GenerationOptions Read(AdditionalPropertiesDictionary? properties, GenerationOptions generation, out IReadOnlyList<string> skipped)
    {
        var others = new List<string>();
        skipped = others;

        // A budget that is given is the budget, whichever of the keys comes first.
        foreach ((string key, object? value) in (properties ?? []).OrderBy(p => string.Equals(p.Key, MaxReasoningTokens, StringComparison.OrdinalIgnoreCase)))
        {
            if (!s_keys.TryGetValue(key, out Func<GenerationOptions, object, GenerationOptions>? apply))
            {
                ThrowIfMeantForModel(key);
                others.Add(key);
                continue;
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

    private static void ThrowIfMeantForModel(string key)
    {
        string? meant = SimilarNames.Misspelt(key, s_keys.Keys);
        if (meant is not null || s_others.Any(o => SimilarNames.AreEqual(o, key)))
        {
            string remedy = meant is null ? "use the member of ChatOptions that it has, or RawRepresentationFactory" : $"did you mean {meant}? For others use RawRepresentationFactory";
            throw new NotSupportedException($"ChatOptions.AdditionalProperties: there is no option '{key}'. There are {string.Join(", ", s_keys.Keys)}; {remedy}.");
        }
    }

    private static double Number(object value) =>
        value is JsonElement json ? json.GetDouble() : value is string or bool ? throw new InvalidCastException() : Convert.ToDouble(value, CultureInfo.InvariantCulture);

    /// <summary>A part of one is not rounded: 0.4 tokens would be none.</summary>
    private static int WholeNumber(object value) => Number(value) is var number && double.IsInteger(number) ? checked((int)number) : throw new FormatException();

    private static bool Flag(object value) => value is JsonElement json ? json.GetBoolean() : (bool)value;
}
