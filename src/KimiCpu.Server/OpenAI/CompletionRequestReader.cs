// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Tokens;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Reads the body of <c>/v1/completions</c>.</summary>
/// <param name="limits">Of the server.</param>
internal sealed class CompletionRequestReader(KimiServerOptions limits)
{
    /// <summary>What the interface documents where the request does not say.</summary>
    private const int DefaultMaxTokens = 16;

    private static readonly HashSet<string> s_known = ["model", "prompt", "max_tokens", "n", "best_of", "echo", "logprobs", "suffix", "user", .. SamplingReader.Fields];

    /// <summary>The request, and whether the answers begin with their prompts.</summary>
    /// <param name="fields">The request.</param>
    /// <param name="tokenizer">Of the model.</param>
    /// <param name="cancellationToken">Ends the encoding of its prompts.</param>
    public (AnswerRequest Request, bool Echo) Read(JsonFields fields, KimiTokenizer tokenizer, CancellationToken cancellationToken)
    {
        fields.RefuseOthers(s_known);
        if (fields.Has("suffix"))
        {
            throw fields.Unsupported("suffix", "the model does not fill in the middle.");
        }

        int choices = fields.Integer("n", 1, limits.MaxChoices) ?? 1;
        if (fields.Integer("best_of", 1) is { } best && best != choices)
        {
            throw fields.Unsupported("best_of", "all answers are returned; leave it out.");
        }

        int? top = fields.Integer("logprobs", 0, 20);
        bool echo = fields.Flag("echo") ?? false;
        if (echo && top is not null)
        {
            throw fields.Unsupported("logprobs", "there are none of a prompt; leave out echo.");
        }

        var request = new AnswerRequest
        {
            Prompts = ReadPrompts(fields, tokenizer, cancellationToken),
            Options = SamplingReader.Read(fields, limits.Defaults()) with
            {
                MaxTokens = fields.Integer("max_tokens", 1),
                LogProbabilities = top is not null,
                TopLogProbabilities = top ?? 0,
            },
            Ceiling = DefaultMaxTokens,
            Choices = choices,
            Streams = fields.Flag("stream") ?? false,
        };
        if (echo && request.Prompts.SelectMany(p => p).Where(t => t >= tokenizer.VocabularySize).Take(1).ToArray() is [var unknown])
        {
            // The model may have rows for more ids than there are texts.
            throw new RequestException(StatusCodes.Status400BadRequest, $"prompt takes ids 0 … {tokenizer.VocabularySize - 1} where echo is true; found {unknown}.", "prompt", "invalid_value");
        }

        return (request, echo);
    }

    private List<int[]> ReadPrompts(JsonFields fields, KimiTokenizer tokenizer, CancellationToken cancellationToken)
    {
        JsonElement given = fields.Get("prompt") ?? throw fields.Missing("prompt");
        bool single = given.ValueKind == JsonValueKind.String || (given.ValueKind == JsonValueKind.Array && given.GetArrayLength() > 0 && given[0].ValueKind == JsonValueKind.Number);
        List<int[]> prompts = single
            ? [ReadPrompt(given, "prompt", tokenizer, cancellationToken)]
            : [.. fields.Items("prompt", limits.MaxChoices).Select(p => ReadPrompt(p.Element, p.Path, tokenizer, cancellationToken))];
        return prompts.Count > 0 ? prompts : throw fields.Invalid("prompt", "at least one prompt");
    }

    private static int[] ReadPrompt(JsonElement prompt, string path, KimiTokenizer tokenizer, CancellationToken cancellationToken)
    {
        int[] tokens = prompt.ValueKind switch
        {
            // Control tokens are reached by their ids only, never by a text that spells them.
            JsonValueKind.String => tokenizer.Encode(prompt.GetString()!, cancellationToken: cancellationToken),
            JsonValueKind.Array => TokenEndpoints.Ids(prompt, path),
            _ => throw JsonFields.Wrong(path, "a text or an array of token ids", prompt),
        };
        return tokens.Length > 0 ? tokens : throw new RequestException(StatusCodes.Status400BadRequest, $"{path} takes at least one token.", path, "invalid_value");
    }
}
