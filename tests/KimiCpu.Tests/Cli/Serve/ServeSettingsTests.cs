// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli.Serve;
using Microsoft.Extensions.Configuration;

namespace KimiCpu.Tests.Cli.Serve;

[TestFixture]
internal sealed class ServeSettingsTests
{
    [Test]
    public void The_command_line_goes_over_single_values_and_adds_to_lists()
    {
        ConfigurationManager configuration = Read("""{"Server":{"Port":1,"MaxRequests":5,"ModelNames":["a","b"]}}""");
        var settings = new ServeSettings();
        settings.Set("Server:Port", 2);
        settings.Set("Server:MaxRequests", null);
        settings.Add("Server:ModelNames", ["c", "d"]);
        settings.Add("Server:AllowedOrigins", ["https://chat.example.com"]);
        settings.AddTo(configuration);
        Assert.That((configuration["Server:Port"], configuration["Server:MaxRequests"]), Is.EqualTo(("2", "5")));
        Assert.That(List(configuration, "Server:ModelNames"), Is.EqualTo(new[] { "a", "b", "c", "d" }));
        Assert.That(List(configuration, "Server:AllowedOrigins"), Is.EqualTo(new[] { "https://chat.example.com" }));
    }

    [Test]
    public void Lists_that_the_command_line_says_nothing_of_stay()
    {
        ConfigurationManager configuration = Read("""{"Server":{"ModelNames":["a"]}}""");
        var settings = new ServeSettings();
        settings.Add("Server:ModelNames", null);
        settings.AddTo(configuration);
        Assert.That(List(configuration, "Server:ModelNames"), Is.EqualTo(new[] { "a" }));
    }

    private static IEnumerable<string?> List(ConfigurationManager configuration, string key) => configuration.GetSection(key).GetChildren().Select(c => c.Value);

    private static ConfigurationManager Read(string json)
    {
        var configuration = new ConfigurationManager();
        configuration.AddJsonStream(new MemoryStream(Encoding.UTF8.GetBytes(json)));
        return configuration;
    }
}
