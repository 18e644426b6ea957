// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using KimiCpu.Server;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;
using KimiCpu.Server.OpenAI;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>What several interfaces read alike.</summary>
[TestFixture]
internal sealed class RequestPartsTests
{
    /// <summary>As a fixed one, the default of other servers would make every answer the same.</summary>
    [TestCase("-1", null)]
    [TestCase("-2", ulong.MaxValue - 1)]
    [TestCase("0", 0UL)]
    [TestCase("7", 7UL)]
    [TestCase("-9223372036854775808", 1UL << 63)]
    [TestCase("9223372036854775808", 1UL << 63)]
    [TestCase("18446744073709551615", ulong.MaxValue)]
    public void A_seed_of_minus_one_is_any(string given, ulong? seed)
    {
        var seeded = new JsonFields(JsonElement.Parse($$"""{"seed":{{given}}}"""));
        Assert.That(SamplingReader.Read(seeded, new GenerationOptions()).Seed, Is.EqualTo(seed));
        var chat = new JsonFields(JsonElement.Parse($$$"""{"messages":[{"role":"user","content":"x"}],"options":{"seed":{{{given}}}}}"""));
        AnswerRequest read = new OllamaRequestReader(new RequestParts(new KimiServerOptions(), new FormatReader(), CancellationToken.None)).ReadChat(chat)!;
        Assert.That(read.Options.Seed, Is.EqualTo(seed));
    }

    [TestCase("18446744073709551616")]
    [TestCase("-9223372036854775809")]
    [TestCase("1.5")]
    public void A_seed_has_64_bits_with_or_without_a_sign(string given) => Assert.That(
        () => RequestParts.Seed(new JsonFields(JsonElement.Parse($$"""{"seed":{{given}}}"""))),
        Throws.TypeOf<RequestException>().With.Message.EqualTo($"seed takes a whole number -9223372036854775808 … 18446744073709551615; found {given}."));
}
