// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Extensions.AI.Hosting;

/// <summary>A key that nobody reads stops the host: without, a model would be opened in another way than was written.</summary>
[TestFixture]
internal sealed class ConfigurationKeysTests
{
    [TestCase("""{"Embedded":true,"ContextLenght":1000}""", "'ContextLenght' in the configuration, at Kimi:ContextLenght. Did you mean ContextLength?")]
    [TestCase("""{"Embedded":true,"context_length":1000}""", "at Kimi:context_length. Did you mean ContextLength?")]
    [TestCase("""{"Embedded":true,"Context":1000}""", "Did you mean ContextLength?")]
    [TestCase("""{"Embedded":true,"MaxRuning":1}""", "Did you mean MaxRunning")]
    [TestCase("""{"Embedded":true,"Scheduling":{"MaxRunning":1}}""", "at Kimi:Scheduling. MaxRunning belongs directly into Kimi.")]
    [TestCase("""{"Embedded":true,"Colour":"red"}""", "at Kimi:Colour. Known keys: ModelPath, Embedded, ")]
    [TestCase("""{"Embedded":true,"Threads":[1]}""", "an object or a list at Kimi:Threads, which takes a single value")]
    [TestCase("""{"Embedded":true,"Threads":"many"}""", "Kimi: The configuration has 'many' at Kimi:Threads, which takes a whole number.")]
    [TestCase("""{"Embedded":"yes"}""", "'yes' at Kimi:Embedded, which takes true or false.")]
    [TestCase("""{"ModlePath":"/models/x"}""", "Did you mean ModelPath?")]
    [TestCase("\"/models/x\"", "a single value at Kimi, which takes an object with the keys ModelPath, ")]
    public void A_key_that_is_unknown_stops_the_host(string section, string message)
    {
        using IHost host = Build($$"""{"Kimi":{{section}}}""");
        Assert.That(() => host.StartAsync(), Throws.InstanceOf<OptionsValidationException>().With.Message.Contains(message));
    }

    [Test]
    public void A_section_that_is_missing_is_named()
    {
        using IHost host = Build("""{"Kimmi":{"Embedded":true}}""");
        Assert.That(() => host.StartAsync(), Throws.InstanceOf<OptionsValidationException>().With.Message.Contains("no section 'Kimi'"));
    }

    [Test]
    public async Task Keys_beside_the_section_are_somebody_elses()
    {
        using IHost host = Build("""{"Logging":{"LogLevel":{"Default":"Warning"}},"AllowedHosts":"*","Kimi":{"embedded":"true","OpenAtStart":false,"Threads":null}}""");
        await host.StartAsync();
        KimiOptions options = host.Services.GetRequiredService<IOptions<KimiOptions>>().Value;
        Assert.That((options.Embedded, options.OpenAtStart), Is.EqualTo((true, false)));
        await host.StopAsync();
    }

    [Test]
    public void A_whole_configuration_is_not_judged()
    {
        IConfigurationRoot configuration = Read("""{"Embedded":true,"Logging":{"LogLevel":{}},"PATH":"/bin"}""");
        using ServiceProvider services = new ServiceCollection().AddKimi(configuration).BuildServiceProvider();
        Assert.That(services.GetRequiredService<IOptions<KimiOptions>>().Value.Embedded);
    }

    [Test]
    public void Of_a_whole_configuration_only_values_that_cannot_be_read_are_refused()
    {
        IConfigurationRoot configuration = Read("""{"Embedded":true,"Colour":"red","Threads":"many"}""");
        using ServiceProvider services = new ServiceCollection().AddKimi(configuration).BuildServiceProvider();
        Assert.That(
            () => services.GetRequiredService<IOptions<KimiOptions>>().Value,
            Throws.InstanceOf<OptionsValidationException>().With.Message.EqualTo("Kimi: The configuration has 'many' at Threads, which takes a whole number."));
    }

    [Test]
    public void Of_models_under_keys_each_has_a_section_of_its_own()
    {
        IConfigurationRoot configuration = Read("""{"Fast":{"Embedded":true},"Exact":{"Embedded":true,"Exakt":true}}""");
        using ServiceProvider services = new ServiceCollection()
            .AddKeyedKimi("fast", configuration.GetSection("Fast"))
            .AddKeyedKimi("exact", configuration.GetSection("Exact"))
            .BuildServiceProvider();
        var options = services.GetRequiredService<IOptionsMonitor<KimiOptions>>();
        Assert.That(options.Get("fast").Embedded);
        Assert.That(() => options.Get("exact"), Throws.InstanceOf<OptionsValidationException>().With.Message.Contains("at Exact:Exakt. Did you mean Exact?"));
    }

    private static IHost Build(string json)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddConfiguration(Read(json));
        builder.Services.AddKimi(builder.Configuration.GetSection("Kimi"));
        return builder.Build();
    }

    private static IConfigurationRoot Read(string json) => new ConfigurationBuilder().AddJsonStream(new MemoryStream(Encoding.UTF8.GetBytes(json))).Build();
}
