// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>What <c>/v1/chat/completions</c>, <c>/v1/completions</c> and <c>/v1/responses</c> have in common; some names are of other servers for open models.</summary>
internal static class SamplingReader
{
    private const int MostStops = 16;
    private const int MostBiases = 1024;

    /// <summary>The fields that are read here, and those of streams.</summary>
    public static IReadOnlyList<string> Fields { get; } =
    [
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop", "ignore_eos", "stream", "stream_options",
    ];

    public static GenerationOptions Read(JsonFields fields, GenerationOptions options)
    {
        if (fields.Has("stream_options") && fields.Flag("stream") != true)
        {
            throw fields.Unsupported("stream_options", "it goes with stream set to true only.");
        }

        return options with
        {
            Temperature = (float?)fields.Number("temperature", 0, 2) ?? options.Temperature,
            TopP = Positive((float?)fields.Number("top_p", 0, 1)) ?? options.TopP,
            TopK = fields.Integer("top_k", -1) is { } k ? Math.Max(0, k) : options.TopK,
            MinP = RequestParts.MinP(fields) ?? options.MinP,
            RepetitionPenalty = (float?)fields.Number("repetition_penalty", 0.01, 10) ?? options.RepetitionPenalty,
            PresencePenalty = (float?)fields.Number("presence_penalty", -2, 2) ?? options.PresencePenalty,
            FrequencyPenalty = (float?)fields.Number("frequency_penalty", -2, 2) ?? options.FrequencyPenalty,
            LogitBias = ReadBias(fields),
            Seed = RequestParts.Seed(fields),
            StopSequences = [.. fields.Texts("stop", MostStops).Select(s => s.Length is > 0 and <= 1024 ? s : throw fields.Invalid("stop", "texts of 1 … 1024 characters"))],
            IgnoreEndOfText = fields.Flag("ignore_eos") ?? false,
        };
    }

    /// <summary>A share of 0 leaves the most likely token only.</summary>
    private static float? Positive(float? share) => share is <= 0 ? float.Epsilon : share;

    private static Dictionary<int, float>? ReadBias(JsonFields fields)
    {
        if (fields.Fields("logit_bias") is not { } given)
        {
            return null;
        }

        var bias = new Dictionary<int, float>();
        foreach (JsonProperty property in given.All(MostBiases, "tokens"))
        {
            if (!int.TryParse(property.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int token))
            {
                throw new RequestException(StatusCodes.Status400BadRequest, "logit_bias takes token ids as names of its fields.", "logit_bias", "invalid_value");
            }

            // Documented as a ban at this value, which a number added to a logit would not be.
            float value = (float)JsonFields.Number(property.Value, given.PathOf(property.Name), -100, 100);
            bias[token] = value <= -100 ? float.NegativeInfinity : value;
        }

        return bias;
    }
}
