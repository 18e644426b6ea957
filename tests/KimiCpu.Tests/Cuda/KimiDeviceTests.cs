// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda;

/// <summary>The device option, on the embedded model over the simulated driver.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class KimiDeviceTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 3 };

    [Test]
    public void A_model_on_a_GPU_answers_as_on_the_CPU()
    {
        using KimiModel cpu = KimiModel.OpenEmbedded();
        using var driver = new SimulatedDriver();
        using (KimiModel gpu = KimiModel.OpenEmbedded(new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table }))
        {
            Assert.That(gpu.Placement, Does.StartWith("GPU 0: Simulated GPU, compute capability 8.6, CUDA 12.0: all weights as stored"));
            int[] prompt = [.. cpu.Tokenizer.Encode("What is the capital of")];
            Assert.That(gpu.Generate(prompt, s_options).Tokens, Is.EqualTo(cpu.Generate(prompt, s_options).Tokens));
            Assert.That(driver.Fault, Is.Null);
        }

        Assert.That(driver.LiveObjects, Is.Zero);
    }

    [Test]
    public void Without_a_usable_GPU_Auto_takes_the_CPU_and_Cuda_refuses()
    {
        using var driver = new SimulatedDriver { DeviceCount = 0 };
        var options = new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            Assert.That(model.Placement, Does.StartWith("CPU: "));
        }

        Assert.That(() => KimiModel.OpenEmbedded(options with { Device = KimiDevice.Cuda(1) }), Throws.TypeOf<KimiException>().With.Message.Contains("No usable NVIDIA GPU"));
        Assert.That(() => KimiModel.OpenEmbedded(options with { Device = KimiDevice.Cuda(), Exact = true }), Throws.ArgumentException.With.Message.Contains("cuda:0"));
        Assert.That(driver.LiveObjects, Is.Zero);
    }

    [Test]
    public void Devices_are_read_and_written_alike()
    {
        foreach (string text in new[] { "cpu", "auto", "cuda:0", "cuda:12" })
        {
            Assert.That(KimiDevice.Parse(text).ToString(), Is.EqualTo(text));
        }

        Assert.That(KimiDevice.Parse("cuda"), Is.EqualTo(KimiDevice.Cuda(0)));
        Assert.That(() => KimiDevice.Parse("cuda:-1"), Throws.TypeOf<FormatException>().With.Message.Contains("cuda:N"));
    }
}
