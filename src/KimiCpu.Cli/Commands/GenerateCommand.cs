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
        var prompt = new Argument<string?>("PROMPT") { Description = "The prompt; standard input if left out.", Arity = ArgumentArity.ZeroOrOne };
        var raw = new Option<bool>("--raw") { Description = "Continue the text as it is, without the chat template." };
        var allowSpecial = new Option<bool>("--allow-special") { Description = "With --raw: read names of control tokens in the prompt as those tokens." };
        var system = new Option<string?>("--system") { Description = "An instruction for the model.", HelpName = "TEXT" };
        var reasoning = new Option<bool>("--show-reasoning") { Description = "Write the reasoning to standard error." };
        var json = new Option<bool>("--json") { Description = "One JSON object with text, reasoning, tokens, usage and timings, at the end." };
        var stats = new Option<bool>("--stats") { Description = "Write rates to standard error at the end; the memory's bandwidth, to compare decoding with, is measured first." };
        var command = new Command("generate", "Answers one prompt. Only the answer goes to standard output.") { prompt, raw, allowSpecial, system, reasoning, json, stats };
        model.AddTo(command);
        sampling.AddTo(command);
        constraint.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            GenerationOptions options = sampling.Read(parsed) with { Constraint = constraint.Read(parsed, cancellationToken) };
            string text = parsed.GetValue(prompt) ?? streams.ReadText();
            using KimiModel opened = model.Open(parsed, streams);
            if (parsed.GetValue(stats))
            {
                opened.MeasureMemoryBandwidth(cancellationToken);
            }

            IAsyncEnumerable<GenerationUpdate> updates = parsed.GetValue(raw)
                ? opened.GenerateAsync(opened.Tokenizer.Encode(text, parsed.GetValue(allowSpecial)).AsMemory(), options, cancellationToken)
                : opened.GenerateAsync(Conversation(parsed.GetValue(system), text), options, cancellationToken);
            bool stream = !parsed.GetValue(json);
            GenerationResult? result = null;
            await foreach (GenerationUpdate update in updates)
            {
                if (stream)
                {
                    await streams.Output.WriteAsync(update.Text);
                    await streams.Output.FlushAsync(CancellationToken.None);
                }

                if (parsed.GetValue(reasoning))
                {
                    await streams.Error.WriteAsync(update.Reasoning);
                }

                result = update.Result;
            }

            await streams.Output.WriteLineAsync(stream ? "" : ToJson(result!));
            if (parsed.GetValue(reasoning))
            {
                await streams.Error.WriteLineAsync();
            }

            if (parsed.GetValue(stats))
            {
                await streams.Error.WriteLineAsync(RateLine.Of(result!));
            }

            return KimiCommand.Ok;
        });
        return command;
    }

    private static List<KimiMessage> Conversation(string? system, string text) =>
        system is null ? [KimiMessage.User(text)] : [KimiMessage.System(system), KimiMessage.User(text)];

    private static string ToJson(GenerationResult result) => JsonText.Write(json =>
    {
        json.WriteString("text", result.Text);
        json.WriteString("reasoning", result.Reasoning);
        json.WriteString("finish_reason", result.FinishReason == FinishReason.Stop ? "stop" : "length");
        json.WriteStartArray("tokens");
        foreach (int token in result.Tokens)
        {
            json.WriteNumberValue(token);
        }

        json.WriteEndArray();
        WriteLogProbabilities(json, result.LogProbabilities);
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", result.Usage.PromptTokens);
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
