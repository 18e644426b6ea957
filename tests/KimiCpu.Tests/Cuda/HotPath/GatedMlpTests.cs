// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Where silu(gate) * up is formed: results are as good either way, so arguments of launches tell.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class GatedMlpTests
{
    /// <summary>As many rows as there are recorded launches for, and as many as take the kernels for few.</summary>
    [Test]
    public void Few_rows_of_gate_and_up_are_multiplied_together([Values(1, CudaHotPath.GraphRows, LinearProgram.DefaultManyRows - 1)] int rows)
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"));
        List<(string Kernel, LinearArguments Layer)> launches = LinearsOf(driver, model, [.. Enumerable.Range(1, rows)]);

        // A dense layer, and three shared experts.
        Assert.That(launches.Where(l => l.Layer.Output == LinearOutput.Gated).Select(l => (l.Layer.First.Rows, l.Layer.Second.Rows)), Is.EqualTo(new[] { (512u, 512u), (64u, 64u), (64u, 64u), (64u, 64u) }));
        Assert.That(launches.Where(l => l.Layer.Mode == LinearInput.Gated), Is.Empty);
    }

    /// <summary>In binary16 gate is in single precision on the GPU, and up is in BF16 as it is stored: then down forms the product.</summary>
    [Test]
    public void Gate_and_up_of_two_formats_are_multiplied_where_down_reads_them()
    {
        using var checkpoint = new SyntheticModel(SyntheticModel.Smallest.Replace("topk=2", "topk=8", StringComparison.Ordinal));
        StoreInBinary16(checkpoint.Folder, "model.layers.0.mlp.gate_proj.weight");
        int[] tokens = [1, 2, 3];
        using var reference = new ModelUnderTest(checkpoint.Folder, Backend.Reference);
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, checkpoint.Folder);
        float[] logits = [];
        List<(string Kernel, LinearArguments Layer)> launches = LinearsOf(driver, model, tokens, l => logits = l);
        Agreement agreement = Agreement.Of(reference.Logits(tokens), logits, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999));
        Assert.That(launches.Where(l => l.Layer.Mode == LinearInput.Gated).Select(l => l.Kernel), Is.EqualTo(new[] { "linear_bf16_8" }));
        Assert.That(launches.Count(l => l.Layer.Output == LinearOutput.Gated), Is.EqualTo(2), "shared experts");
    }

    private static List<(string Kernel, LinearArguments Layer)> LinearsOf(SimulatedDriver driver, GpuModel model, int[] tokens, Action<float[]>? logits = null)
    {
        List<(string, LinearArguments)> launches = [];
        driver.Launched = (kernel, _, arguments) =>
        {
            if (kernel.StartsWith("linear", StringComparison.Ordinal))
            {
                launches.Add((kernel, MemoryMarshal.Read<LinearArguments>(arguments)));
            }
        };
        float[] result = model.Logits(tokens);
        logits?.Invoke(result);
        return launches;
    }

    /// <summary>Says that a tensor's 16 bits are others than they were written as.</summary>
    private static void StoreInBinary16(string folder, string tensor)
    {
        foreach (string file in Directory.GetFiles(folder, "*.safetensors"))
        {
            byte[] bytes = File.ReadAllBytes(file);
            if (bytes.AsSpan().IndexOf(Encoding.UTF8.GetBytes($"\"{tensor}\"")) is >= 0 and int at)
            {
                at += bytes.AsSpan(at).IndexOf("\"BF16\""u8);
                "\"F16\" "u8.CopyTo(bytes.AsSpan(at));
                File.WriteAllBytes(file, bytes);
                return;
            }
        }

        Assert.Fail($"no {tensor} in {folder}");
    }
}
