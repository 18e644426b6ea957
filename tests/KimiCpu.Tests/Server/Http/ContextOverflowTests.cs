// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;
using KimiCpu.Server.OpenAI;
using KimiCpu.Server.OpenAI.Responses;

namespace KimiCpu.Tests.Server.Http;

/// <summary>Clients find these sentences with patterns, and read their numbers.</summary>
[TestFixture]
internal sealed class ContextOverflowTests
{
    private static readonly object[] s_sentences =
    [
        new object?[] { AnthropicDialect.Instance, 188_059, 20_000, "input length and `max_tokens` exceed context limit: 188059 + 20000 > 200000, decrease input length or `max_tokens` and try again. It can be raised.", null },
        new object?[] { AnthropicDialect.Instance, 196_000, 4_001, "input length and `max_tokens` exceed context limit: 196000 + 4001 > 200000, decrease input length or `max_tokens` and try again. It can be raised.", null },
        new object?[] { AnthropicDialect.Instance, 213_462, 20_000, "prompt is too long: 213462 tokens > 196000 maximum. Shorten the conversation. It can be raised.", null },

        // Whoever is to ask for an answer of 1,000 tokens instead gives up.
        new object?[] { AnthropicDialect.Instance, 199_000, 20_000, "prompt is too long: 199000 tokens > 196000 maximum. Shorten the conversation. It can be raised.", null },
        new object?[] { AnthropicDialect.Instance, 200_000, 1, "prompt is too long: 200000 tokens > 196000 maximum. Shorten the conversation. It can be raised.", null },
        new object?[] { OpenAIDialect.Instance, 188_059, 20_000, "This model's maximum context length is 200000 tokens. However, you requested 208059 tokens (188059 in the messages, 20000 in the completion). Please reduce the length of the messages or completion (max_tokens). It can be raised.", "messages" },
        new object?[] { OpenAIDialect.Instance, 213_462, 1, "This model's maximum context length is 200000 tokens. However, you requested 213463 tokens (213462 in the messages, 1 in the completion). Please reduce the length of the messages. It can be raised.", "messages" },
        new object?[] { OpenAIDialect.Completions, 213_462, 1, "This model's maximum context length is 200000 tokens. However, you requested 213463 tokens (213462 in the prompt, 1 in the completion). Please reduce the length of the prompt. It can be raised.", "prompt" },
        new object?[] { ResponsesDialect.Instance, 188_059, 20_000, "Your input exceeds the context window of this model together with max_output_tokens: 188059 + 20000 tokens of 200000. Please shorten your input, or lower max_output_tokens, and try again. It can be raised.", "input" },
        new object?[] { ResponsesDialect.Instance, 213_462, 1, "Your input exceeds the context window of this model: 213462 tokens of 200000, and an answer needs one at least. Please shorten your input and try again. It can be raised.", "input" },

        // To shorten it by so many is enough, however many the answer was to have at most.
        new object?[] { OllamaDialect.Instance, 213_462, 1, "prompt too long; exceeded max context length by 13463 tokens: 213462 of the prompt and one of an answer do not fit its 200000. Shorten the conversation. It can be raised.", null },
        new object?[] { OllamaDialect.Instance, 213_462, 20_000, "prompt too long; exceeded max context length by 13463 tokens: 213462 of the prompt and one of an answer do not fit its 200000. Shorten the conversation. It can be raised.", null },
    ];

    [TestCaseSource(nameof(s_sentences))]
    public void Each_interface_has_its_own_sentence(IDialect dialect, int prompt, int answer, string message, string? parameter)
    {
        var refused = new ContextLengthException("") { PromptTokens = prompt, NeededTokens = prompt + answer, AvailableTokens = 200_000, MoreRoom = "It can be raised." };
        RequestException error = RequestException.Of(refused, dialect)!;
        Assert.That((error.Status, error.Code, error.Message, error.Parameter), Is.EqualTo((400, "context_length_exceeded", message, parameter)));
        Assert.That(RequestException.Of(new ContextLengthException("") { PromptTokens = prompt, NeededTokens = prompt + answer, AvailableTokens = 200_000 }, dialect)!.Message, Is.EqualTo(message[..^" It can be raised.".Length]), "nothing raises it");
    }

    [TestCase("/v1/chat/completions", "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":100000", "in the messages")]
    [TestCase("/v1/completions", "\"prompt\":\"Hi\",\"max_tokens\":100000", "in the prompt")]
    [TestCase("/v1/responses", "\"input\":\"Hi\",\"max_output_tokens\":100000", "lower max_output_tokens")]
    [TestCase("/v1/messages", "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":100000", "exceed context limit")]
    [TestCase("/api/chat", "\"messages\":[{\"role\":\"user\",\"content\":\"LONG\"}],\"options\":{\"num_predict\":100000}", "prompt too long")]
    [TestCase("/api/generate", "\"prompt\":\"LONG\",\"raw\":true", "prompt too long")]
    public async Task Each_path_has_the_sentence_of_its_interface(string path, string fields, string words)
    {
        string request = fields.Replace("LONG", string.Concat(Enumerable.Repeat("one two three ", 2000)), StringComparison.Ordinal);
        (int status, JsonElement body, _) = await (await SharedServers.Plain).PostAsync(path, $$"""{"model":"kimi-nano",{{request}}}""");
        Assert.That((status, body.GetRawText().Contains(words, StringComparison.Ordinal)), Is.EqualTo((400, true)), body.GetRawText());
    }

    [Test]
    public void What_several_calls_used_up_is_asked_for_again() =>
        Assert.That(RequestException.Of(new ContextLengthException("No page is free."), OpenAIDialect.Instance)!.Status, Is.EqualTo(429));
}
