// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi generate</c>.</summary>
internal static class GenerateCommand
{
    public static Command Make(CliStreams streams)
    {
        var model = new ModelOptions();
        var sampling = new SamplingOptions();
        var constraint = new ConstraintOptions();
        var prompt = new Argument<string?>("PROMPT") { Description = "The prompt; what is piped in goes before it with an empty line between (with --raw as it is, and nothing between), and stands in its place if it is left out. The end of the last line that is piped in is not part of it (but with --raw). In a loop that reads its own input, and from a program that leaves its pipe open: `< /dev/null`.", Arity = ArgumentArity.ZeroOrOne };
        var conversation = new Option<string?>("--conversation") { Description = "Messages and tools in place of a prompt, as OpenAI's interface writes them, - for standard input; calls are written after the text, a line each.", HelpName = "FILE" };
        var raw = new Option<bool>("--raw") { Description = "Continue the text as it is, without the chat template." };
        var allowSpecial = new Option<bool>("--allow-special") { Description = "With --raw: read names of control tokens in the prompt as those tokens." };
        var system = new Option<string?>("--system") { Description = "An instruction for the model.", HelpName = "TEXT" };
        var reasoning = new Option<bool>("--show-reasoning") { Description = "Write the reasoning to standard error." };
        var json = new Option<bool>("--json") { Description = "One JSON object with text, reasoning, tokens, usage and timings, at the end." };
        var stats = new Option<bool>("--stats") { Description = "Write rates to standard error at the end; the memory's bandwidth, to compare decoding with, is measured first. Its share is not shown of models that fit the CPU's caches." };
        var command = new Command("generate", "Answers one prompt. Only the answer goes to standard output.") { prompt, conversation, raw, allowSpecial, system, reasoning, json, stats };
        model.AddTo(command);
        sampling.AddTo(command);
        sampling.AddLogProbabilitiesTo(command);
        constraint.AddTo(command);
        command.SetLongAction(async (parsed, cancellationToken) =>
        {
            Refuse(parsed.GetValue(raw) && parsed.GetValue(system) is not null, "--system belongs to the chat template, which --raw leaves away; write it into the prompt.");
            Refuse(parsed.GetValue(raw) && (parsed.GetValue(reasoning) || sampling.ShapesReasoning(parsed)), "--show-reasoning, --no-think, --max-reasoning-tokens and --preserve-thinking belong to the chat template, which --raw leaves away.");
            Refuse(parsed.GetValue(allowSpecial) && !parsed.GetValue(raw), "--allow-special is for --raw: messages are never read for control tokens.");
            Refuse(sampling.LimitsNoReasoning(parsed), "--no-think leaves no reasoning for --max-reasoning-tokens to limit: give one of them.");
            GenerationOptions options = sampling.Read(parsed) with { Constraint = constraint.Read(parsed, streams, cancellationToken) };
            SamplingOptions.Check(options);
            KimiModelOptions how = model.Read(parsed);
            Conversation? given = parsed.GetValue(conversation) is { } file ? ReadConversation(conversation.Name, file, parsed.GetValue(prompt), parsed.GetValue(system), parsed.GetValue(raw), streams, cancellationToken) : null;
            options = given is null ? options : With(options, given);
            Refuse(options.LogProbabilities && !parsed.GetValue(json), "--logprobs needs --json, which shows them.");
            SamplingOptions.CheckTokens(options, model.Files(parsed));
            string text = given is null ? await PromptText.ReadAsync(parsed.GetValue(prompt), parsed.GetValue(raw), streams, cancellationToken) : "";
            Refuse(given is null && text.Length == 0 && streams.InputTaker is not null, $"There is nothing to answer: PROMPT is missing or empty, and {streams.InputTaker} has taken standard input.");
            Refuse(given is null && text.Length == 0, "There is nothing to answer: PROMPT, or standard input without it, is empty.");
            using KimiModel opened = model.Open(parsed, how, streams);
            double? bandwidth = parsed.GetValue(stats) ? opened.MeasureMemoryBandwidth(cancellationToken) : null;

            var prompts = new PromptLine(streams.ShowsProgress ? streams.Error : TextWriter.Null, streams.Columns);
            options = options with { PromptProgress = prompts };
            IAsyncEnumerable<GenerationUpdate> updates = parsed.GetValue(raw)
                ? opened.GenerateAsync(opened.Tokenizer.Encode(text, parsed.GetValue(allowSpecial), cancellationToken).AsMemory(), options, cancellationToken)
                : opened.GenerateAsync(given?.Messages ?? Messages(parsed.GetValue(system), text), options, cancellationToken);
            bool stream = !parsed.GetValue(json);
            var answer = new StreamedAnswer(streams, stream, parsed.GetValue(reasoning));
            GenerationResult? result = null;
            try
            {
                await foreach (GenerationUpdate update in updates)
                {
                    prompts.End();
                    answer.Write(update);
                    result = update.Result;
                }
            }
            finally
            {
                prompts.End();
                answer.End(isWhole: result is not null);
            }

            await streams.Output.WriteLineAsync(stream ? ToLines(result!, streams.ShowsOnTerminal) : ToJson(result!));
            if (stream && CutNotice.Of(result!, options, opened.Info.ContextLength) is { } notice)
            {
                await streams.Error.WriteLineAsync(notice);
            }

            if (parsed.GetValue(stats))
            {
                await streams.Error.WriteLineAsync(RateLine.Of(result!));
                if (RateLine.WhyNoShare(result!, bandwidth) is { } reason)
                {
                    await streams.Error.WriteLineAsync(reason);
                }
            }

            return KimiCommand.Ok;
        });
        return command;
    }

    /// <exception cref="ArgumentException">The options do nothing together.</exception>
    private static void Refuse(bool condition, string problem)
    {
        if (condition)
        {
            throw new ArgumentException(problem);
        }
    }

    private static Conversation ReadConversation(string option, string file, string? prompt, string? system, bool raw, CliStreams streams, CancellationToken cancellationToken)
    {
        Refuse(prompt is not null || system is not null || raw, $"{option} stands in place of PROMPT, --system and --raw.");
        Conversation conversation = ConversationFile.Read(option, file, streams);
        ConversationFile.CheckTools(option, file, conversation.Tools, cancellationToken);
        return conversation;
    }

    private static GenerationOptions With(GenerationOptions options, Conversation given) => options with
    {
        Tools = given.Tools,
        Thinking = options.Thinking && given.Thinking != false,
        PreserveThinking = options.PreserveThinking || given.PreserveThinking == true,
    };

    /// <summary>What follows the streamed text: the calls.</summary>
    private static string ToLines(GenerationResult result, bool onTerminal) =>
        string.Join(Environment.NewLine, result.ToolCalls.Select(c => $"{c.Id} {c.Arguments}").Select(l => onTerminal ? VisibleText.Of(l) : l).Prepend("").Skip(result.Text.Length > 0 ? 0 : Math.Min(1, result.ToolCalls.Count)));

    private static List<KimiMessage> Messages(string? system, string text) =>
        system is null ? [KimiMessage.User(text)] : [KimiMessage.System(system), KimiMessage.User(text)];

    private static string ToJson(GenerationResult result) => JsonText.Write(json =>
    {
        json.WriteString("text", result.Text);
        json.WriteString("reasoning", result.Reasoning);
        WriteCalls(json, result.ToolCalls);
        json.WriteString("finish_reason", result.FinishReason switch { FinishReason.Stop => "stop", FinishReason.ToolCalls => "tool_calls", _ => "length" });
        json.WriteStartArray("tokens");
        foreach (int token in result.Tokens)
        {
            json.WriteNumberValue(token);
        }

        json.WriteEndArray();
        WriteLogProbabilities(json, result.LogProbabilities);
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", result.Usage.PromptTokens);
        json.WriteNumber("cached_tokens", result.Usage.CachedTokens);
        json.WriteNumber("completion_tokens", result.Usage.CompletionTokens);
        json.WriteNumber("reasoning_tokens", result.Usage.ReasoningTokens);
        json.WriteEndObject();
        json.WriteStartObject("timings");
        json.WriteNumber("prefill_seconds", result.Timings.Prefill.TotalSeconds);
        json.WriteNumber("decode_seconds", result.Timings.Decode.TotalSeconds);
        json.WriteNumber("prefill_tokens_per_second", result.Timings.PrefillTokensPerSecond);
        json.WriteNumber("decode_tokens_per_second", result.Timings.DecodeTokensPerSecond);
        json.WriteNumber("decode_bytes_per_token", result.Timings.DecodeBytesPerToken);
        json.WriteNumber("decode_bytes_per_second", result.Timings.DecodeBytesPerSecond);
        WriteShare(json, result.Timings.MemoryBandwidthShare);
        json.WriteEndObject();
    });

    /// <summary>In the form in which a conversation goes on with them.</summary>
    private static void WriteCalls(Utf8JsonWriter json, IReadOnlyList<KimiToolCall> calls)
    {
        if (calls.Count == 0)
        {
            return;
        }

        json.WriteStartArray("tool_calls");
        foreach (KimiToolCall call in calls)
        {
            json.WriteStartObject();
            json.WriteString("id", call.Id);
            json.WriteString("type", "function");
            json.WriteStartObject("function");
            json.WriteString("name", call.Name);
            json.WriteString("arguments", call.Arguments);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteShare(Utf8JsonWriter json, double? share)
    {
        if (share is { } known)
        {
            json.WriteNumber("memory_bandwidth_share", known);
        }
        else
        {
            json.WriteNull("memory_bandwidth_share");
        }
    }

    private static void WriteLogProbabilities(Utf8JsonWriter json, IReadOnlyList<TokenLogProbability> items)
    {
        if (items.Count == 0)
        {
            return;
        }

        json.WriteStartArray("logprobs");
        foreach (TokenLogProbability item in items)
        {
            json.WriteStartObject();
            json.WriteNumber("token", item.Token);
            json.WriteNumber("logprob", item.LogProbability);
            json.WriteStartArray("top");
            foreach ((int token, float logProbability) in item.Top)
            {
                json.WriteStartObject();
                json.WriteNumber("token", token);
                json.WriteNumber("logprob", logProbability);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
