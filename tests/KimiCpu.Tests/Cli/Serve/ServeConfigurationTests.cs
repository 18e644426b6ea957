// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Serve;
using KimiCpu.Cli.Terminal;
using Microsoft.Extensions.Configuration;

namespace KimiCpu.Tests.Cli.Serve;

[TestFixture]
internal sealed class ServeConfigurationTests
{
    private string _file = "";

    [SetUp]
    public void MakeFile() => _file = Path.GetTempFileName();

    [TearDown]
    public void DeleteFile() => File.Delete(_file);

    /// <summary>Together they would be refused, in words of the file though the other one was typed.</summary>
    [Test]
    public void A_model_of_the_command_line_takes_the_place_of_the_embedded_one_of_the_file()
    {
        ConfigurationManager configuration = Read("""{"Model":{"Embedded":true}}""", ("ModelPath", "/models/x"));
        Assert.That((configuration["Model:ModelPath"], configuration["Model:Embedded"]), Is.EqualTo(("/models/x", "false")));
    }

    [Test]
    public void So_does_a_precision([Values] bool exact)
    {
        (string typed, string other) = exact ? ("Exact", "Int8HotPath") : ("Int8HotPath", "Exact");
        ConfigurationManager configuration = Read($$$"""{"Model":{"{{{other}}}":true}}""", (typed, true));
        Assert.That((configuration["Model:" + typed], configuration["Model:" + other]), Is.EqualTo(("True", "false")));
    }

    [Test]
    public void What_one_source_says_of_both_stays_a_contradiction()
    {
        ConfigurationManager configuration = Read("""{"Model":{"Embedded":true,"ModelPath":"/models/x"}}""", ("Threads", 2));
        Assert.That((configuration["Model:ModelPath"], configuration["Model:Embedded"]), Is.EqualTo(("/models/x", "True")));
    }

    private ConfigurationManager Read(string json, (string Key, object Value) typed)
    {
        File.WriteAllText(_file, json);
        var configuration = new ConfigurationManager();
        var settings = new ServeSettings();
        settings.Set($"Model:{typed.Key}", typed.Value);
        ServeConfiguration.Read(configuration, _file, settings, new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false));
        return configuration;
    }
}
