// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

/// <summary>Names that are given in place of a folder.</summary>
[TestFixture]
internal sealed class KnownModelsTests
{
    [TestCase("k2-thinking", "moonshotai/Kimi-K2-Thinking")]
    [TestCase("Kimi K2 Thinking", "moonshotai/Kimi-K2-Thinking")]
    [TestCase("0905", "moonshotai/Kimi-K2-Instruct-0905")]
    [TestCase("moonshotai/Kimi-K2.5", "moonshotai/Kimi-K2.5")]
    [TestCase("some-one/Kimi-K2-of-theirs", null)]
    [TestCase("models/Kimi-K2-Thinking", null)]
    [TestCase("kimi-nano", null)]
    [TestCase("nonsense", null)]
    [TestCase("", null)]
    [TestCase("/models/Kimi-K2-Thinking", null)]
    [TestCase("./k2-thinking", null)]
    [TestCase("../Kimi-K2-Thinking", null)]
    [TestCase("models/moonshotai/Kimi-K2-Thinking", null)]
    [TestCase("moonshotai/", null)]
    public void A_name_says_where_the_model_can_be_downloaded_from(string name, string? expected) => Assert.That(KnownModels.RepositoryOf(name), Is.EqualTo(expected));

    [Test]
    public void Opening_a_name_tells_how_to_download_it() =>
        Assert.That(
            () => KimiModel.Open("moonshotai/Kimi-K2-Thinking"),
            Throws.TypeOf<CheckpointException>().With.Message.EqualTo("'moonshotai/Kimi-K2-Thinking': The folder does not exist. Models are not downloaded here but by `hf download moonshotai/Kimi-K2-Thinking --local-dir DIR`; give the folder DIR."));
}
