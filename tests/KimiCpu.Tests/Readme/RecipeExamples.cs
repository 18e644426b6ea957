// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using KimiCpu;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of docs/recipes.md, compiled and run.</summary>
internal static class RecipeExamples
{
    public static async Task<List<KimiMessage>> Conversation(IKimiModel model, string[] questions, CancellationToken cancellationToken)
    {
        List<KimiMessage> messages = [KimiMessage.System("You answer in one sentence.")];
        foreach (string question in questions)
        {
            messages.Add(KimiMessage.User(question));
            await foreach (GenerationUpdate update in model.GenerateAsync(messages, new GenerationOptions { MaxTokens = 500 }, cancellationToken))
            {
                Console.Write(update.Text);
                if (update.Result is { } result)   // of the last update: all of the answer
                {
                    messages.Add(result.ToMessage());
                    Console.WriteLine($" ({result.FinishReason}; {result.Usage.PromptTokens} tokens, {result.Usage.CachedTokens} of them cached, and {result.Usage.CompletionTokens})");
                }
            }
        }

        return messages;
    }

    public static void Page(WebApplication app)
    {
        app.MapGet("/ask", (string question, IKimiModel model, CancellationToken cancellationToken) => TypedResults.ServerSentEvents(Texts(model, question, cancellationToken)));

        static async IAsyncEnumerable<string> Texts(IKimiModel model, string question, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            await foreach (GenerationUpdate update in model.GenerateAsync(question, cancellationToken: cancellationToken))
            {
                if (update.Text.Length > 0)
                {
                    yield return update.Text;
                }
            }
        }
    }

    public static async Task<(Forecast? Forecast, GenerationResult Written)> Typed(IKimiModel model)
    {
        // record Forecast(string City, bool Rain);
        JsonNode schema = JsonSchemaExporter.GetJsonSchemaAsNode(JsonSerializerOptions.Default, typeof(Forecast), new JsonSchemaExporterOptions { TreatNullObliviousAsNonNullable = true });
        var asForecast = new GenerationOptions { Constraint = KimiConstraint.JsonSchema(schema.ToJsonString()), MaxTokens = 200 };
        GenerationResult written = await model.GenerateAsync($"Will it rain in Paris today? Answer as JSON by this schema: {schema.ToJsonString()}", asForecast).Select(u => u.Result).LastAsync() ?? throw new InvalidOperationException();
        Forecast? forecast = written.FinishReason == FinishReason.Stop ? JsonSerializer.Deserialize<Forecast>(written.Text) : null;   // null: cut off by MaxTokens
        return (forecast, written);
    }

    public sealed record Forecast(string City, bool Rain);
}
