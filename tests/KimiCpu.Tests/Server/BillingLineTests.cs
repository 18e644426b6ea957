// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI.Responses;

namespace KimiCpu.Tests.Server;

/// <summary>Claude Code's requests of one conversation begin alike, though the line that it puts before its instructions is another in each.</summary>
[TestFixture]
internal sealed class BillingLineTests
{
    private const string Line = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;";

    private static readonly string s_instructions = string.Concat(Enumerable.Repeat("Answer in one word. ", 120));

    [TestCase($$"""[{"type":"text","text":"{{Line}}"},{"type":"text","text":"Be brief."}]""", "Be brief.")]
    [TestCase($$"""[{"type":"text","text":"{{Line}}\nBe brief."}]""", "Be brief.")]
    [TestCase($"\"{Line}\\r\\nBe brief.\"", "Be brief.")]
    [TestCase($"\"{Line}Be brief.\"", "Be brief.")]
    [TestCase($"\"{Line} Be brief; always.\\nI = you.\"", "Be brief; always.\nI = you.")]
    [TestCase("\"x-anthropic-billing-header: cc_version=2.1; cch=36ee5\\nBe brief.\"", "Be brief.")]
    [TestCase("\"x-anthropic-billing-header: cc_version=2.1; cch=36ee5\"", null)]
    [TestCase("\"x-anthropic-billing-header: is what you never write.\"", "x-anthropic-billing-header: is what you never write.")]
    [TestCase($"\"{Line}\"", null)]
    [TestCase($$"""[{"type":"text","text":"{{Line}}"}]""", null)]
    [TestCase($"\"Never write {Line}\"", $"Never write {Line}")]
    [TestCase($$"""[{"type":"text","text":"Be brief."},{"type":"text","text":"{{Line}}"}]""", $"Be brief.{Line}")]
    public void The_line_is_no_part_of_the_instructions(string system, string? expected)
    {
        IReadOnlyList<KimiMessage> read = Read($$"""{"system":{{system}},"messages":[{"role":"user","content":"Hi"}]}""");
        Assert.That(read.Where(m => m.Role == KimiRole.System).Select(m => m.Content), Is.EqualTo(expected is null ? Array.Empty<string>() : [expected]));
    }

    /// <summary>A gateway that Claude Code asks may ask by another interface.</summary>
    [TestCase($"\"{Line}\\nBe brief.\"", "Be brief.")]
    [TestCase($$"""[{"type":"text","text":"{{Line}}"},{"type":"text","text":"Be brief."}]""", "Be brief.")]
    [TestCase($"\"{Line}\"", null)]
    [TestCase($"\"Never write {Line}\"", $"Never write {Line}")]
    [TestCase("\"\"", "")]
    public void A_chat_s_first_message_is_read_without_it(string content, string? expected)
    {
        IReadOnlyList<KimiMessage> read = ConversationReading.OpenAI($$"""{"role":"system","content":{{content}}},{"role":"system","content":"{{Line}}"},{"role":"user","content":"{{Line}}"}""");
        Assert.That(read.Select(m => m.Content), Is.EqualTo((string[])[.. expected is null ? Array.Empty<string>() : [expected], Line, Line]), "only where the prompt begins");
    }

    [TestCase($"{Line}\\nBe brief.", "Be brief.")]
    [TestCase(Line, null)]
    public void Instructions_of_a_response_are_read_without_it(string instructions, string? expected)
    {
        IReadOnlyList<KimiMessage> read = new InputReader(10).Read(new JsonFields(JsonElement.Parse($$"""{"instructions":"{{instructions}}","input":"{{Line}}"}""")));
        Assert.That(read.Select(m => m.Content), Is.EqualTo((string[])[.. expected is null ? Array.Empty<string>() : [expected], Line]));
    }

    [Test]
    public void What_users_say_stays_as_it_is() =>
        Assert.That(Read($$"""{"messages":[{"role":"user","content":"{{Line}}"}]}""").Single().Content, Is.EqualTo(Line));

    [Test]
    [CancelAfter(120_000)]
    public async Task The_second_request_finds_the_first_ones_prompt_in_the_cache(CancellationToken cancellationToken)
    {
        RunningServer server = await SharedServers.Plain;
        (_, JsonElement count, _) = await server.PostAsync("/v1/messages/count_tokens", Request("cch=36ee5;"));
        (_, JsonElement first, _) = await server.PostAsync("/v1/messages", Request("cch=36ee5;"));
        cancellationToken.ThrowIfCancellationRequested();
        (int status, JsonElement second, _) = await server.PostAsync("/v1/messages", Request("cch=0aaa9;"));
        Assert.That(status, Is.EqualTo(200), second.GetRawText());
        int prompt = count.GetProperty("input_tokens").GetInt32();
        JsonElement usage = second.GetProperty("usage");
        Assert.That(TokensOf(first.GetProperty("usage")), Is.EqualTo(prompt), "counted as it is read");
        Assert.That(TokensOf(usage), Is.EqualTo(prompt));

        // All whole pages, of 64 tokens.
        Assert.That(usage.GetProperty("cache_read_input_tokens").GetInt32(), Is.GreaterThan(prompt - 65).And.GreaterThan(400));

        string Request(string checksum) => $$"""
            {"model":"kimi-nano","max_tokens":1,"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.177.01c; {{checksum}}"},{"type":"text","text":"{{s_instructions}}"}],
             "messages":[{"role":"user","content":"Which colour is grass?"}]}
            """;
    }

    private static int TokensOf(JsonElement usage) => usage.GetProperty("input_tokens").GetInt32() + usage.GetProperty("cache_read_input_tokens").GetInt32();

    private static IReadOnlyList<KimiMessage> Read(string request) => new MessagesReader(10).Read(new JsonFields(JsonElement.Parse(request)));
}
