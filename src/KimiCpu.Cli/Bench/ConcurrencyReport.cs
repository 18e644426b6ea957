// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>What <c>kimi bench --concurrency</c> shows.</summary>
internal static class ConcurrencyReport
{
    public static async Task Run(string folder, string subject, KimiModelOptions options, int[] calls, int tokens, int promptTokens, string? chart, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        using KimiModel model = await KimiModel.OpenAsync(folder, options, cancellationToken).ConfigureAwait(false);
        int most = model.MaxRunning - (promptTokens > 0 ? 1 : 0);
        if (calls.Max() > most)
        {
            throw new FormatException($"--concurrency {calls.Max()}: {model.MaxRunning} calls run at once here{(promptTokens > 0 ? ", one of which is the prompt that enters (--entering)" : "")}, so give {most} answers at most.");
        }

        var bench = new ConcurrencyBench(model, tokens, promptTokens);
        await bench.Run(1, cancellationToken).ConfigureAwait(false);
        var results = new List<ConcurrencyResult>();
        foreach (int count in calls)
        {
            results.Add(await bench.Run(count, cancellationToken).ConfigureAwait(false));
        }

        if (json)
        {
            streams.Output.WriteLine(ToJson(subject, promptTokens, results));
        }
        else
        {
            streams.Output.WriteLine($"{subject}, {model.Placement}");
            string[] headers = [">answers", ">tokens/s", ">each", ">times one", ">worst gap", .. promptTokens > 0 ? [$">with a prompt of {promptTokens}", ">worst gap", ">prompt tokens/s"] : Array.Empty<string>()];
            TextTable.Write(streams, headers, results.Select(r => Row(r, results.Find(o => o.Calls == 1), promptTokens > 0)));
        }

        if (chart is not null)
        {
            OutputFile.WriteText("--chart", chart, ConcurrencyChart.Draw(subject, results));
        }
    }

    private static string[] Row(ConcurrencyResult r, ConcurrencyResult? one, bool mixed) =>
    [
        r.Calls.ToString(CultureInfo.InvariantCulture),
        Number(r.Decode),
        Number(r.Decode / r.Calls),
        one is null ? "" : (r.Decode / one.Decode).ToString("F2", CultureInfo.InvariantCulture),
        Milliseconds(r.Gap),
        .. mixed ? [Number(r.MixedDecode), Milliseconds(r.MixedGap), Number(r.Prompt)] : Array.Empty<string>(),
    ];

    private static string Number(double value) => value.ToString("F1", CultureInfo.InvariantCulture);

    private static string Milliseconds(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{time.TotalMilliseconds:F0} ms");

    private static string ToJson(string subject, int promptTokens, List<ConcurrencyResult> results) => JsonText.Write(json =>
    {
        json.WriteString("subject", subject);
        json.WriteString("cpu", CpuFeatures.Description);
        json.WriteNumber("prompt_tokens", promptTokens);
        json.WriteStartArray("results");
        foreach (ConcurrencyResult result in results)
        {
            json.WriteStartObject();
            json.WriteNumber("answers", result.Calls);
            json.WriteNumber("per_second", result.Decode);
            json.WriteNumber("worst_gap_seconds", result.Gap.TotalSeconds);
            json.WriteNumber("per_second_with_prompt", result.MixedDecode);
            json.WriteNumber("worst_gap_seconds_with_prompt", result.MixedGap.TotalSeconds);
            json.WriteNumber("prompt_per_second", result.Prompt);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
