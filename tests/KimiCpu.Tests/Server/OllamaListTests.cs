// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Extensions.AI;
using KimiCpu.Server;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Ollama;
using KimiCpu.Tests.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Tests.Server;

/// <summary>What Ollama's clients read of a list of models: some take none that lacks a field, and Ollama's own ends in a panic.</summary>
[TestFixture]
internal sealed class OllamaListTests
{
    private const string Details = "details.parent_model details.format details.family details.parameter_size details.quantization_level";

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _server = await SharedServers.Plain;
        _ = _server.Model;
    }

    [TestCase("/api/tags", $"name model digest modified_at {Details}", "size")]
    [TestCase("/api/ps", $"name model digest expires_at {Details}", "size size_vram context_length")]
    public async Task Every_field_is_there(string path, string texts, string numbers)
    {
        JsonElement model = await OnlyOneAsync(path);
        foreach (string field in texts.Split(' '))
        {
            JsonElement value = field.Split('.').Aggregate(model, (at, name) => at.GetProperty(name));
            Assert.That(value.ValueKind == JsonValueKind.String && (value.GetString()!.Length > 0 || field == "details.parent_model"), field);
        }

        foreach (string field in numbers.Split(' '))
        {
            Assert.That(model.GetProperty(field).TryGetInt64(out long number) && (number > 0 || field == "size_vram"), field);
        }

        Assert.That(model.GetProperty("details").GetProperty("families").EnumerateArray().Select(f => f.GetString()), Is.EqualTo(new[] { "kimi-k2" }));
        Assert.That(model.GetProperty("digest").GetString(), Does.Match("^[0-9a-f]{64}$"));
    }

    [Test]
    public async Task Both_lists_and_the_description_say_the_same()
    {
        JsonElement listed = await OnlyOneAsync("/api/tags");
        JsonElement running = await OnlyOneAsync("/api/ps");
        (_, JsonElement shown, _) = await _server.PostAsync("/api/show", """{"model":"kimi-nano"}""");
        foreach (string field in (string[])["name", "model", "size", "digest", "details"])
        {
            Assert.That(JsonElement.DeepEquals(listed.GetProperty(field), running.GetProperty(field)), field);
        }

        Assert.That(JsonElement.DeepEquals(shown.GetProperty("details"), listed.GetProperty("details")));
        Assert.That(shown.GetProperty("model_info").GetProperty("general.parameter_count").GetInt64(), Is.EqualTo(_server.Model.Info.ParameterCount));
        Assert.That(listed.GetProperty("size").GetInt64(), Is.EqualTo(_server.Model.Info.WeightBytes));
        Assert.That(running.GetProperty("context_length").GetInt32(), Is.EqualTo(2048));
        Assert.That(running.GetProperty("expires_at").GetDateTimeOffset(), Is.GreaterThan(DateTimeOffset.UtcNow.AddYears(20)), "what Ollama's client calls forever");
    }

    /// <summary>Open WebUI adds a tag to a name that has none, and then finds it in no list.</summary>
    [Test]
    public async Task Models_are_listed_by_a_name_with_a_tag_and_answer_to_it()
    {
        string name = (await OnlyOneAsync("/api/tags")).GetProperty("model").GetString()!;
        Assert.That(name, Is.EqualTo("kimi-nano:latest"));
        (int status, JsonElement body, _) = await _server.PostAsync("/api/chat", $$$"""{"model":"{{{name}}}","stream":false,"options":{"num_predict":1},"messages":[{"role":"user","content":"Hi"}]}""");
        Assert.That((status, body.GetProperty("model").GetString()), Is.EqualTo((200, name)));
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Names of folders have no colon there.")]
    public void A_name_with_a_tag_is_listed_as_it_is_and_of_a_model_that_is_not_open_no_size()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("kimicpu");
        try
        {
            string path = folder.CreateSubdirectory("kimi-k2:thinking").FullName;
            var services = new ServiceCollection();
            services.AddKimi(o => o.ModelPath = path);
            services.AddKimiServer();
            using ServiceProvider provider = services.BuildServiceProvider();
            JsonElement listed = JsonElement.Parse(ModelDescription.Listed(provider.GetRequiredService<ServedModel>()).ToJsonString());
            Assert.That((listed.GetProperty("name").GetString(), listed.GetProperty("size").GetInt64()), Is.EqualTo(("kimi-k2:thinking", 0)));
            Assert.That(listed.GetProperty("details").GetProperty("parameter_size").GetString(), Is.Empty);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_can_run_no_call_any_more_is_not_among_those_that_run(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        string? failure = null;
        await using RunningServer server = await RunningServer.StartWithAsync(StandInModel.Of(model, m => m.Name == "get_Activity" ? new KimiModelActivity { Failure = failure } : null));
        await server.ModelHost.OpenAsync(cancellationToken);
        Assert.That(await CountAsync(), Is.EqualTo(1));
        failure = "GPU 0 was lost, so every call fails from here on.";
        Assert.That(await CountAsync(), Is.Zero);

        async Task<int> CountAsync() => JsonElement.Parse(await server.Http.GetStringAsync("/api/ps", cancellationToken)).GetProperty("models").GetArrayLength();
    }

    private async Task<JsonElement> OnlyOneAsync(string path) =>
        JsonElement.Parse(await _server.Http.GetStringAsync(path)).GetProperty("models").EnumerateArray().Single();
}
