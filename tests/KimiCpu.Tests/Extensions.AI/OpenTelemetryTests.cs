// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Extensions.AI;
using Microsoft.Extensions.AI;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace KimiCpu.Tests.Extensions.AI;

[TestFixture]
internal sealed class OpenTelemetryTests
{
    private const string ChatSource = "KimiCpu.Tests.Chat";

    [Test]
    public async Task The_ecosystems_spans_and_metrics_come_with_ours_below_them()
    {
        var spans = new List<Activity>();
        var metrics = new List<Metric>();
        using TracerProvider tracer = Sdk.CreateTracerProviderBuilder().AddSource(ChatSource, KimiTelemetry.ActivitySourceName).AddInMemoryExporter(spans).Build();
        using MeterProvider meter = Sdk.CreateMeterProviderBuilder().AddMeter(ChatSource, KimiTelemetry.MeterName).AddInMemoryExporter(metrics).Build();
        using KimiModel model = KimiModel.OpenEmbedded();
        using IChatClient client = model.AsIChatClient().AsBuilder().UseOpenTelemetry(sourceName: ChatSource).Build();
        ChatResponse response = await client.GetResponseAsync("What is the capital of France?", new ChatOptions { Temperature = 0 });
        meter.ForceFlush();

        Activity chat = spans.Single(s => s.Source.Name == ChatSource);
        Assert.That((chat.DisplayName, chat.GetTagItem("gen_ai.provider.name"), chat.GetTagItem("gen_ai.response.model")), Is.EqualTo(("chat kimi-nano", "kimicpu", "kimi-nano")));
        Assert.That($"{chat.GetTagItem("gen_ai.usage.output_tokens")}", Is.EqualTo($"{response.Usage!.OutputTokenCount}"));
        Activity generate = spans.Single(s => s.Source.Name == KimiTelemetry.ActivitySourceName);
        Assert.That((generate.DisplayName, generate.ParentSpanId), Is.EqualTo(("generate kimi-nano", chat.SpanId)));
        string[] expected = ["gen_ai.client.operation.duration", "gen_ai.client.token.usage", "gen_ai.server.time_to_first_token", "kimicpu.decode.rate", "kimicpu.decode.bandwidth"];
        Assert.That(expected, Is.SubsetOf(metrics.Select(m => m.Name)));
    }
}
