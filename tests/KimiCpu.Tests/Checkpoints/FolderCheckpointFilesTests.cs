// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Tests.Checkpoints;

[TestFixture]
internal sealed class FolderCheckpointFilesTests
{
    private const string Commit = "612681931a8c906ddb349f8ad0f582cb552189cd";

    private string _parent = "";

    [SetUp]
    public void CreateFolder() => _parent = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_parent, recursive: true);

    /// <summary>By it clients ask for the model, before it is open and after, so the two must agree.</summary>
    [TestCase("Kimi-K2-Thinking", "Kimi-K2-Thinking")]
    [TestCase("Kimi-K2-Thinking/", "Kimi-K2-Thinking")]
    [TestCase($"models--moonshotai--Kimi-K2-Thinking/snapshots/{Commit}", "Kimi-K2-Thinking")]
    [TestCase($"models--moonshotai--Kimi-K2-Thinking/snapshots/{Commit}/../{Commit}/", "Kimi-K2-Thinking")]
    [TestCase($"models--K2/snapshots/{Commit}", "K2")]
    [TestCase($"models--/snapshots/{Commit}", Commit)]
    [TestCase($"datasets--a--b/snapshots/{Commit}", Commit)]
    [TestCase("snapshots/x", "x")]
    [TestCase("moonshotai/Kimi-K2___5", "Kimi-K2.5")]
    [TestCase("models/K2___mine", "K2___mine")]
    public async Task A_model_is_called_as_its_folder_or_as_the_hub_calls_it(string folder, string name)
    {
        string path = Path.Combine(_parent, folder);
        Directory.CreateDirectory(path);
        Assert.That(new FolderCheckpointFiles(path).Name, Is.EqualTo(name));
        await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(o => o.ModelPath = path).BuildServiceProvider();
        Assert.That(services.GetRequiredService<ModelHost>().ModelName, Is.EqualTo(name));
    }

    /// <summary>As of a drive that was made for a model.</summary>
    [Test]
    public void A_model_in_the_root_of_a_drive_has_a_name_too() =>
        Assert.That(new FolderCheckpointFiles(Path.GetPathRoot(Path.GetFullPath(_parent))!).Name, Is.EqualTo("model"));
}
