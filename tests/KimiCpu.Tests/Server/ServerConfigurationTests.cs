// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Extensions.AI;
using KimiCpu.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Server;

/// <summary>A key that nobody reads stops the server: without, a limit would not hold that was written down.</summary>
[TestFixture]
internal sealed class ServerConfigurationTests
{
    [TestCase("""{"MaxRequest":5}""", "Kimi server: Unknown key 'MaxRequest' in the configuration, at KimiServer:MaxRequest. Did you mean MaxRequests?")]
    [TestCase("""{"MaxRequests":"few"}""", "Kimi server: The configuration has 'few' at KimiServer:MaxRequests, which takes a whole number.")]
    [TestCase("""{"ApiKeys":"secret"}""", "a single value at KimiServer:ApiKeys, which takes a list.")]
    [TestCase("""{"ShutdownGrace":30}""", "'30' at KimiServer:ShutdownGrace, which takes a time")]
    [TestCase("""{"Temperature":"hot"}""", "Kimi server: The configuration has 'hot' at KimiServer:Temperature, which takes a number.")]
    [TestCase("""{"Temperature":101}""", "Kimi server: Temperature takes 0 … 100, or nothing; found 101.")]
    [TestCase("""{"TopP":0}""", "Kimi server: TopP takes a number above 0 and at most 1, or nothing; found 0.")]
    [TestCase("[]", "Kimi server: The configuration has an empty list or text at KimiServer, which takes an object with the keys ApiKeys, ")]
    [TestCase("""{"MaxRequests":0}""", "Kimi server: MaxRequests takes 1 or more; found 0.")]
    public async Task A_mistake_stops_the_server(string section, string message)
    {
        await using WebApplication app = Build(Read($$"""{"KimiServer":{{section}}}""").GetSection("KimiServer"));
        Assert.That(() => app.StartAsync(), Throws.InstanceOf<OptionsValidationException>().With.Message.Contains(message));
    }

    [Test]
    public async Task A_section_sets_the_options_and_code_goes_over_it()
    {
        IConfigurationRoot configuration = Read("""{"MaxRequests":1,"KimiServer":{"ApiKeys":["secret"],"maxrequests":5,"MaxTokens":null,"ShutdownGrace":"00:00:30"}}""");
        await using WebApplication app = Build(configuration.GetSection("KimiServer"), o => o.MaxTools = 3);
        KimiServerOptions options = app.Services.GetRequiredService<IOptions<KimiServerOptions>>().Value;
        Assert.That(options.ApiKeys, Is.EqualTo(new[] { "secret" }));
        Assert.That((options.MaxRequests, options.MaxTools, options.MaxTokens, options.ShutdownGrace), Is.EqualTo((5, 3, (int?)null, TimeSpan.FromSeconds(30))));
    }

    [Test]
    public async Task Where_there_is_no_section_the_defaults_stand()
    {
        await using WebApplication app = Build(Read("{}").GetSection("KimiServer"));
        Assert.That(app.Services.GetRequiredService<IOptions<KimiServerOptions>>().Value.MaxRequests, Is.EqualTo(64));
    }

    [Test]
    public async Task Of_a_whole_configuration_other_keys_are_somebody_elses()
    {
        await using WebApplication app = Build(Read("""{"MaxRequests":5,"Logging":{},"PATH":"/bin"}"""));
        Assert.That(app.Services.GetRequiredService<IOptions<KimiServerOptions>>().Value.MaxRequests, Is.EqualTo(5));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_is_open_answers_on_when_its_configuration_becomes_invalid(CancellationToken cancellationToken)
    {
        IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["Threads"] = "1" }).Build();
        await using RunningServer server = await RunningServer.StartAsync(host: builder => builder.Services.AddOptions<KimiOptions>().Bind(configuration));
        const string Request = """{"model":"kimi-nano","messages":[{"role":"user","content":"Hi"}],"max_tokens":2}""";
        Assert.That((await server.PostAsync("/v1/chat/completions", Request)).Status, Is.EqualTo(200));
        configuration["Threads"] = "0";
        Assert.That(configuration.Reload, Throws.Exception.With.Message.Contains("Threads"));
        Assert.That((await server.PostAsync("/v1/chat/completions", Request)).Status, Is.EqualTo(200));
        using HttpResponseMessage ready = await server.Http.GetAsync("/ready", cancellationToken);
        Assert.That(await ready.Content.ReadAsStringAsync(cancellationToken), Does.Contain("\"kimi-nano\"").And.Contain("\"ready\""));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_is_not_open_yet_is_closed_and_not_available_when_its_configuration_becomes_invalid(CancellationToken cancellationToken)
    {
        IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["OpenAtStart"] = "false", ["Threads"] = "1" }).Build();
        await using RunningServer server = await RunningServer.StartAsync(host: builder => builder.Services.AddOptions<KimiOptions>().Bind(configuration));
        configuration["Threads"] = "0";
        Assert.That(configuration.Reload, Throws.Exception.With.Message.Contains("Threads"));
        using HttpResponseMessage ready = await server.Http.GetAsync("/ready", cancellationToken);
        Assert.That(((int)ready.StatusCode, await ready.Content.ReadAsStringAsync(cancellationToken)), Is.EqualTo((200, """{"status":"closed","model":"kimi-nano"}""")));
        (int status, JsonElement body, _) = await server.PostAsync("/v1/chat/completions", """{"model":"kimi-nano","messages":[{"role":"user","content":"Hi"}],"max_tokens":2}""");
        Assert.That((status, body.GetProperty("error").GetProperty("code").GetString()), Is.EqualTo((503, "model_not_available")));
    }

    private static WebApplication Build(IConfiguration configuration, Action<KimiServerOptions>? configure = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddKimi(o => (o.Embedded, o.OpenAtStart) = (true, false));
        builder.Services.AddKimiServer(configuration, configure);
        return builder.Build();
    }

    private static IConfigurationRoot Read(string json) => new ConfigurationBuilder().AddJsonStream(new MemoryStream(Encoding.UTF8.GetBytes(json))).Build();
}
