// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Tiles;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class KernelOptionsTests
{
    [Test]
    public void Generated_code_never_changes_an_answer([Values] bool int8HotPath) =>
        Assert.That(Answer(int8HotPath, generated: false), Is.EqualTo(Answer(int8HotPath, generated: true)));

    [Test]
    public void Copies_are_made_when_asked_for_and_never_in_exact_mode()
    {
        using KimiModel stored = KimiModel.OpenEmbedded();
        using KimiModel copied = KimiModel.OpenEmbedded(new KimiModelOptions { Int8HotPath = true });
        using KimiModel exact = KimiModel.OpenEmbedded(new KimiModelOptions { Int8HotPath = true, Exact = true });
        Assert.That(copied.Placement, Does.Contain("copied to 8 bits"));
        Assert.That(stored.Placement, Does.Not.Contain("copied to 8 bits"));
        Assert.That(exact.Placement, Does.Not.Contain("copied to 8 bits"));
    }

    private static string Answer(bool int8HotPath, bool generated)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Int8HotPath = int8HotPath, RuntimeCodeGeneration = generated });
        Assert.That(model.Placement.Contains("Generated", StringComparison.Ordinal), Is.EqualTo(generated && TileKernel.IsSupported(TileKernelKind.GeneratedAvx512Vnni)));
        Assert.That(model.Placement.Contains("copied to 8 bits", StringComparison.Ordinal), Is.EqualTo(int8HotPath));
        GenerationResult answer = model.Generate("What can you do?", new GenerationOptions { MaxTokens = 24, Temperature = 0 });
        Assert.That(answer.Text, Is.Not.Empty);
        return answer.Text;
    }
}
