// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using KimiCpu.Server;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;
using KimiCpu.Server.OpenAI;
using KimiCpu.Server.OpenAI.Responses;

namespace KimiCpu.Tests.Server;

/// <summary>Every field of a request that says how to sample reaches the option that it stands for, and no other. All have values that no other one has, and that are no defaults.</summary>
[TestFixture]
internal sealed class RequestOptionsTests
{
    private const string Messages = """ "messages":[{"role":"user","content":"Hi"}] """;

    private const string OpenAISampling = """
        "temperature":1.3,"top_p":0.9,"top_k":7,"min_p":0.05,"repetition_penalty":1.1,"presence_penalty":0.2,"frequency_penalty":-0.4,
        "logit_bias":{"5":-100,"6":-99.5,"7":2},"seed":-2,"stop":["a","b"],"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}
        """;

    private static readonly GenerationOptions s_sampling = new()
    {
        Temperature = 1.3f,
        TopP = 0.9f,
        TopK = 7,
        MinP = 0.05f,
        RepetitionPenalty = 1.1f,
        PresencePenalty = 0.2f,
        FrequencyPenalty = -0.4f,
        LogitBias = new Dictionary<int, float> { [5] = float.NegativeInfinity, [6] = -99.5f, [7] = 2 },
        Seed = ulong.MaxValue - 1,
        StopSequences = ["a", "b"],
        IgnoreEndOfText = true,
    };

    private static readonly GenerationOptions s_noReasoning = new() { Thinking = false, MaxReasoningTokens = 0 };

    [Test]
    public void Every_field_of_sampling_is_looked_at_here() =>
        Assert.That(JsonElement.Parse($"{{{OpenAISampling}}}").EnumerateObject().Select(f => f.Name), Is.EquivalentTo(SamplingReader.Fields), "a field that is new must reach the sampler");

    [Test]
    public void Chats_of_OpenAI()
    {
        Assert.That(Chat(""), Is.EqualTo(new GenerationOptions()));
        Assert.That(
            Chat($$""","max_completion_tokens":99,"max_tokens":98,"logprobs":true,"top_logprobs":3,"max_reasoning_tokens":12,"chat_template_kwargs":{"preserve_thinking":true},{{OpenAISampling}}"""),
            Is.EqualTo(s_sampling with { MaxTokens = 99, LogProbabilities = true, TopLogProbabilities = 3, MaxReasoningTokens = 12, PreserveThinking = true }));
        Assert.That(Chat(""","max_tokens":98"""), Is.EqualTo(new GenerationOptions { MaxTokens = 98 }));
    }

    [Test]
    public void Completions_of_OpenAI()
    {
        GenerationOptions read = new CompletionRequestReader(new KimiServerOptions()).Read(Fields($$"""{"prompt":[5],"max_tokens":99,"logprobs":3,{{OpenAISampling}}}"""), tokenizer: null!, CancellationToken.None).Request.Options;
        Assert.That(read, Is.EqualTo(s_sampling with { MaxTokens = 99, LogProbabilities = true, TopLogProbabilities = 3 }));
    }

    [Test]
    public void Responses_of_OpenAI()
    {
        Assert.That(Response(""), Is.EqualTo(new GenerationOptions()));
        Assert.That(
            Response($$""","max_output_tokens":99,"include":["message.output_text.logprobs"],"top_logprobs":3,"max_reasoning_tokens":12,"reasoning":{"context":"all_turns"},{{OpenAISampling}}"""),
            Is.EqualTo(s_sampling with { MaxTokens = 99, LogProbabilities = true, TopLogProbabilities = 3, MaxReasoningTokens = 12, PreserveThinking = true }));
        Assert.That(Response(""","reasoning":{"context":"current_turn"}""").PreserveThinking, Is.False);
    }

    [Test]
    public void Messages_of_Anthropic()
    {
        Assert.That(Message(""), Is.EqualTo(s_noReasoning with { MaxTokens = 99 }), "there is no reasoning unless it is asked for");
        Assert.That(
            Message(""","temperature":0.3,"top_p":0.9,"top_k":7,"stop_sequences":["a","b"],"thinking":{"type":"enabled","budget_tokens":2000}"""),
            Is.EqualTo(new GenerationOptions { MaxTokens = 99, Temperature = 0.3f, TopP = 0.9f, TopK = 7, StopSequences = ["a", "b"], MaxReasoningTokens = 2000 }));
    }

    [Test]
    public void Chats_and_texts_of_Ollama()
    {
        const string Given = """
            ,"options":{"temperature":1.3,"top_k":7,"top_p":0.9,"min_p":0.05,"repeat_penalty":1.1,"presence_penalty":0.2,"frequency_penalty":-0.4,"seed":-2,"num_predict":99,"stop":["a","","b"]}
            """;
        GenerationOptions expected = s_sampling with { LogitBias = null, IgnoreEndOfText = false };
        var reader = new OllamaRequestReader(Parts());
        AnswerRequest[] read = [reader.ReadChat(Fields($"{{{Messages}{Given}}}"))!, reader.ReadGenerate(Fields($$"""{"prompt":"Hi"{{Given}}}"""), tokenizer: null!)!];
        Assert.That(read.Select(r => (r.Options, r.Ceiling)), Is.All.EqualTo((expected, (int?)99)), "a limit that the context may be shorter than");
        Assert.That(Ollama(""), Is.EqualTo(new GenerationOptions()));
        Assert.That(reader.ReadChat(Fields($$$"""{{{{Messages}}},"options":{"num_predict":-1}}"""))!.Ceiling, Is.Null, "no limit");
    }

    [Test]
    public void What_a_request_does_not_say_is_the_servers()
    {
        var server = new KimiServerOptions { Temperature = 1, TopP = 0.95f };
        Assert.That(Read(server, ""), Is.All.EqualTo((1f, 0.95f)));
        Assert.That(Read(server, """ "temperature":0.3 """), Is.All.EqualTo((0.3f, 0.95f)));
        Assert.That(Read(server, """ "temperature":0,"top_p":0.8 """), Is.All.EqualTo((0f, 0.8f)), "a request goes over it");
        Assert.That(Read(new KimiServerOptions(), ""), Is.All.EqualTo((0.6f, 1f)), "as the library, where the server says nothing");

        static (float, float)[] Read(KimiServerOptions server, string given)
        {
            string more = given.Length > 0 ? $",{given}" : "";
            var parts = new RequestParts(server, new FormatReader(), CancellationToken.None);
            GenerationOptions[] read =
            [
                new ChatRequestReader(parts).Read(Fields($"{{{Messages}{more}}}")).Options,
                new CompletionRequestReader(server).Read(Fields($$"""{"prompt":[5]{{more}}}"""), tokenizer: null!, CancellationToken.None).Request.Options,
                new ResponseRequestReader(parts).Read(Fields($$"""{"input":"Hi"{{more}}}""")).Answer.Options,
                new MessagesRequestReader(parts).Read(Fields($$"""{"max_tokens":99,{{Messages}}{{more}}}""")).Options,
                new OllamaRequestReader(parts).ReadChat(Fields($$$"""{{{{Messages}}},"options":{{{{given}}}}}"""))!.Options,
                new OllamaRequestReader(parts).ReadGenerate(Fields($$$"""{"prompt":"Hi","options":{{{{given}}}}}"""), tokenizer: null!)!.Options,
            ];
            return [.. read.Select(o => (o.Temperature, o.TopP))];
        }
    }

    /// <summary>A share of nothing leaves the most likely token, and so does the smallest one that options take.</summary>
    [Test]
    public void Values_that_options_do_not_take_become_those_that_mean_the_same()
    {
        Assert.That(Chat(""","top_p":0""").TopP, Is.EqualTo(float.Epsilon));
        Assert.That(Message(""","top_p":0""").TopP, Is.EqualTo(float.Epsilon));
        Assert.That(Ollama(""","options":{"top_p":0}""").TopP, Is.EqualTo(float.Epsilon));
        Assert.That(Chat(""","top_k":-1""").TopK, Is.Zero);
        Assert.That(Ollama(""","options":{"top_k":-1}""").TopK, Is.Zero);
        Assert.That(Chat(""","min_p":1""").MinP, Is.EqualTo(0.99999994f));
        Assert.That(Ollama(""","options":{"min_p":1}""").MinP, Is.EqualTo(0.99999994f));
        Assert.That(new[] { "0", "0.0", "-1" }.Select(p => Ollama($$$""","options":{"repeat_penalty":{{{p}}}}""")), Is.All.EqualTo(new GenerationOptions()), "LiteLLM's word for a frequency_penalty");
        Assert.That(Ollama(""","options":{"repeat_penalty":1e-30}""").RepetitionPenalty, Is.EqualTo(0.01f));
    }

    [Test]
    public void An_effort_that_is_none_is_answered_with_all_that_there_are() =>
        Assert.That(() => Chat(""","reasoning_effort":"much" """), Throws.TypeOf<RequestException>().With.Message.EqualTo("reasoning_effort takes none, minimal, low, medium, high, xhigh or max; found 'much'."));

    [TestCase("none", false, 0)]
    [TestCase("minimal", true, 1024)]
    [TestCase("low", true, 1024)]
    [TestCase("medium", true, 8192)]
    [TestCase("high", true, null)]
    [TestCase("xhigh", true, null)]
    [TestCase("max", true, null)]
    public void Efforts_are_budgets_of_reasoning(string effort, bool thinks, int? budget)
    {
        GenerationOptions[] read =
        [
            Chat($$""","reasoning_effort":"{{effort}}" """),
            Response($$""","reasoning":{"effort":"{{effort}}"}"""),
            Message($$""","thinking":{"type":"adaptive"},"output_config":{"effort":"{{effort}}"}"""),
            Ollama($$""","think":"{{effort}}" """),
        ];
        Assert.That(read.Select(o => (o.Thinking, o.MaxReasoningTokens)), Is.All.EqualTo((thinks, budget)));
    }

    [Test]
    public void Reasoning_is_left_out_by_every_name_of_that()
    {
        Assert.That(Chat(""","thinking":{"type":"disabled"}"""), Is.EqualTo(s_noReasoning));
        Assert.That(Chat(""","thinking":{"type":"enabled"}"""), Is.EqualTo(new GenerationOptions()));
        Assert.That(Chat(""","chat_template_kwargs":{"thinking":false}"""), Is.EqualTo(new GenerationOptions { Thinking = false }));
        Assert.That(Chat(""","chat_template_kwargs":{"enable_thinking":false}"""), Is.EqualTo(new GenerationOptions { Thinking = false }));
        Assert.That(Message(""","thinking":{"type":"disabled"}"""), Is.EqualTo(s_noReasoning with { MaxTokens = 99 }));
        Assert.That(Message(""","thinking":{"type":"enabled","budget_tokens":2000},"output_config":{"effort":"low"}""").MaxReasoningTokens, Is.EqualTo(2000), "the budget is said");
        Assert.That(Ollama(""","think":false"""), Is.EqualTo(s_noReasoning));
        Assert.That(Ollama(""","think":true"""), Is.EqualTo(new GenerationOptions()));
    }

    private static GenerationOptions Chat(string more) => new ChatRequestReader(Parts()).Read(Fields($"{{{Messages}{more}}}")).Options;

    private static GenerationOptions Response(string more) => new ResponseRequestReader(Parts()).Read(Fields($$"""{"input":"Hi"{{more}}}""")).Answer.Options;

    private static GenerationOptions Message(string more) => new MessagesRequestReader(Parts()).Read(Fields($$"""{"max_tokens":99,{{Messages}}{{more}}}""")).Options;

    private static GenerationOptions Ollama(string more) => new OllamaRequestReader(Parts()).ReadChat(Fields($"{{{Messages}{more}}}"))!.Options;

    private static RequestParts Parts() => new(new KimiServerOptions(), new FormatReader(), CancellationToken.None);

    private static JsonFields Fields(string request) => new(JsonElement.Parse(request));
}
