// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Cli.Bench.Gpu;
using KimiCpu.Cli.Terminal;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cli.Bench;

/// <summary>All of <c>kimi bench --gpu</c> over the simulated driver, whose clock its work moves on; and what it would need of a real one.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class GpuBenchTests
{
    /// <summary>As narrow as attention on the tensor cores may be.</summary>
    private static readonly GpuBenchSizes s_tensor = GpuBenchSizes.KimiK2 with
    {
        Shape = GpuBenchSizes.KimiK2.Shape with
        {
            HiddenSize = 128,
            LayerCount = 2,
            VocabularySize = 131,
            HeadCount = 32,
            QueryLoraRank = 32,
            NopeHeadSize = 8,
            ValueHeadSize = 8,
            ExpertCount = 4,
            ExpertsPerToken = 2,
            ExpertIntermediateSize = 32,
        },
        DenseWidth = 96,
        RotatedBytes = 320 << 10,
        WarmUp = TimeSpan.Zero,
        Repetitions = 1,
        DecodeLaunches = 1,
        PromptLaunches = 1,
        DecodeRows = [1],
        DecodeContexts = [70, 150],
        PromptRows = [33, 40],
        PromptAttendedRows = 33,
        PromptContext = 65,
        ExpertTokens = [17],
        RoundTrips = 10,
        StepContext = 130,
        Steps = 1,
    };

    private static readonly GpuBenchSizes s_tiny = s_tensor with
    {
        Shape = s_tensor.Shape with { HeadCount = 4, KeyValueLoraRank = 64, RopeHeadSize = 16, LayerCount = 3, Rotary = new RotaryEmbedding(16, 50000, null) },
        RotatedBytes = 33 << 10,
        DecodeRows = [1, 8],
        Steps = 2,
    };

    private static readonly string[] s_ofExpanded = ["gather_latents_bf16", "gather_latents_int8", "gemm_latents_bf16", "gemm_latents_fp8", "gemm_latents_int8", "mla_expanded_bf16", "mla_expanded_int8"];

    [Test]
    public void Everything_is_measured_and_printed_beside_what_is_wanted()
    {
        using var driver = new SimulatedDriver();
        driver.LocalBytesOf["mla_512_bf16"] = 16;
        string text = Run(driver, json: false, s_tensor);
        TestContext.Out.WriteLine(text);
        Assert.That((driver.Fault, driver.LiveObjects), Is.EqualTo(((string?)null, 0)));
        Assert.That(text, Does.StartWith("GPU 0: Simulated GPU, compute capability 8.6, 82 multiprocessors, CUDA 12.0"));
        foreach (string row in new[] { "BF16 q_a + kv_a 608x128, 1 row", "FP8 o_proj 128x256, 1 row", "INT8 head 131x128, 1 row", "MLA, 32 heads, 150 tokens of BF16 cache", "MLA, 32 heads, 150 tokens of 8-bit cache", "INT4 expert down 128x32", "INT8 o_proj 128x256, 40 rows", "33 rows that see 33 to 65 tokens of BF16 cache", "33 rows that see 33 to 65 tokens of 8-bit cache", "INT4 expert gate + up 64x128, 17 rows", "INT4 expert down 128x32, 17 rows", "round trip of a row to the host and back, median", "step of 1 row, 2 layers, 8-bit weights, 130 tokens", "step, times that" })
        {
            Assert.That(text, Does.Contain(row));
        }

        string[] lines = text.Split('\n');
        Assert.That(lines.Where(l => l.Contains("spills", StringComparison.Ordinal)), Has.One.Items.And.All.StartsWith("mla_512_bf16 "));

        // Every entry but the ones for other sizes, formats that no weight of Kimi K2 has, and more rows.
        IEnumerable<string> idle = SimulatedDriver.ModuleOf(System.Text.Encoding.UTF8.GetString(KimiCpu.Cuda.Kernels.KernelSet.Ptx()).TrimEnd('\0')).Kernels.Keys.Except(driver.LaunchesOf.Keys);
        Assert.That(idle.Where(k => !k.Contains("f32", StringComparison.Ordinal) && !k.StartsWith("linear_any", StringComparison.Ordinal) && !k.EndsWith("_4", StringComparison.Ordinal) && !k.StartsWith("absorb", StringComparison.Ordinal)), Is.EquivalentTo((string[])["mla_any_bf16", "mla_any_int8", "rope_store_int8", "linear_bf16_8", "linear_fp8_8", "linear_int8_8", .. s_ofExpanded]));
    }

    /// <summary>Heads of Kimi K2's sizes over a small latent.</summary>
    [Test]
    public void Attention_over_expanded_keys_is_measured_where_it_suits()
    {
        using var driver = new SimulatedDriver();
        GpuBenchSizes sizes = s_tensor with { Shape = s_tensor.Shape with { HeadCount = 2, KeyValueLoraRank = 64, NopeHeadSize = 128, ValueHeadSize = 128 }, RotatedBytes = 33 << 10 };
        using var json = JsonDocument.Parse(Run(driver, json: true, sizes));
        Assert.That((driver.Fault, driver.LiveObjects), Is.EqualTo(((string?)null, 0)));
        JsonElement[] rows = [.. json.RootElement.GetProperty("prompts").EnumerateArray().Where(r => r.GetProperty("kernel").GetString()!.StartsWith("MLA expanded by ", StringComparison.Ordinal))];
        Assert.That(rows.Select(r => r.GetProperty("kernel").GetString()), Is.EqualTo(new[] { "BF16 | BF16", "FP8 | BF16", "INT8 | BF16", "INT8 | 8-bit" }.Select(f => f.Split(" | ")).Select(f => $"MLA expanded by {f[0]}, 2 heads, 33 rows that see 33 to 65 tokens of {f[1]} cache")));

        // 65 tokens expanded, and 33 rows that see 49 of them on average.
        Assert.That(rows[0].GetProperty("operations").GetDouble(), Is.EqualTo(2 * ((65 * 2 * 256 * 64) + (33 * 49 * 2 * (128 + 64 + 128)))));
        Assert.That(driver.LaunchesOf.Keys, Is.SupersetOf(s_ofExpanded));
    }

    [Test]
    public void Json_has_the_same_and_shares_follow_from_bytes_times_and_bandwidth()
    {
        using var driver = new SimulatedDriver();
        using var json = JsonDocument.Parse(Run(driver, json: true));
        JsonElement root = json.RootElement;
        JsonElement[] decode = [.. root.GetProperty("decode").EnumerateArray()];
        Assert.That(decode, Has.Length.EqualTo((3 * 2 * 8) + 2 + (2 * 2) + 3));
        foreach (JsonElement kernel in decode.Where(k => k.TryGetProperty("share", out _)))
        {
            double share = Number(kernel, "bytes") / Number(kernel, "seconds") / Number(kernel, "memory_bytes_per_second");
            Assert.That(share, Is.EqualTo(Number(kernel, "share")).Within(1e-9).And.Positive);
            Assert.That(Number(kernel, "wanted_share"), Is.EqualTo(0.8));
        }

        JsonElement q = decode.First(k => k.GetProperty("kernel").GetString()!.StartsWith("BF16 q_b", StringComparison.Ordinal));
        Assert.That((Number(q, "bytes"), Number(q, "operations")), Is.EqualTo((2.0 * 4 * 24 * 32, 2.0 * 4 * 24 * 32)));
        JsonElement gemm = root.GetProperty("prompts")[0];
        Assert.That(Number(gemm, "tensor_operations"), Is.EqualTo(2 * Number(gemm, "operations")));
        Assert.That(driver.LaunchesOf.Keys, Is.SupersetOf(new[] { "mla_any_bf16", "mla_any_int8", "linear_bf16_8", "linear_fp8_8", "linear_int8_8" }));
        JsonElement step = root.GetProperty("step");
        Assert.That((Number(step, "layers"), Number(step, "context_tokens")), Is.EqualTo((3, 130)));
        Assert.That(Number(step, "ratio"), Is.EqualTo(Number(step, "seconds") * Number(step, "memory_bytes_per_second") / Number(step, "bytes")).Within(1e-9));
        Assert.That(Number(root.GetProperty("round_trip"), "median_seconds"), Is.LessThanOrEqualTo(Number(root.GetProperty("round_trip"), "p99_seconds")));

        static double Number(JsonElement element, string name) => element.GetProperty(name).GetDouble();
    }

    /// <summary>A copy takes a microsecond and one nanosecond a byte there.</summary>
    [Test]
    public void Times_are_those_of_the_GPUs_clock_and_of_one_launch()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        using var stream = new CudaStream(context);
        using var memory = new CudaDeviceVariable<byte>(context, 4000);
        using var timer = new GpuTimer(context, stream);
        ulong address = memory.DevicePointer;
        Assert.That(timer.Seconds(3, () => stream.Copy(address + 2000, address, 1000)), Is.EqualTo(3e-6).Within(1e-9), "the copy, and the mark behind it");
        Assert.That(timer.Seconds(4, 3, i => stream.Copy(address + 2000, address, 500 * (i + 1))), Is.EqualTo(2.5e-6).Within(1e-9), "1,250 bytes on average, and a quarter of the mark");
    }

    [TestCase("cuFuncGetAttribute")]
    [TestCase("cuEventElapsedTime")]
    [TestCase("cuGraphInstantiateWithFlags")]
    [TestCase("cuGraphLaunch")]
    public void A_call_that_fails_fails_the_command_and_leaks_nothing(string function)
    {
        using var driver = new SimulatedDriver { FailingFunction = function };
        Assert.That(() => Run(driver, json: false, s_tiny with { DecodeRows = [1] }), Throws.TypeOf<KimiException>().With.Message.Contains($"{function} failed with CUDA error 999"));
        Assert.That((driver.Fault, driver.LiveObjects), Is.EqualTo(((string?)null, 0)));
    }

    [Test]
    public void Too_little_memory_is_said_before_anything_is_measured()
    {
        using var driver = new SimulatedDriver { TotalBytes = 100 << 10 };
        Assert.That(() => Run(driver, json: false), Throws.TypeOf<KimiException>().With.Message.Contains("MiB are free"));
        Assert.That(driver.LiveObjects, Is.Zero);
    }

    [Test]
    public void Cancelling_ends_it_between_kernels()
    {
        using var driver = new SimulatedDriver();
        using var source = new CancellationTokenSource();
        Assert.That(() => GpuBench.Run(driver.Table, 0, s_tiny, _ => source.Cancel(), source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That((driver.Fault, driver.LiveObjects), Is.EqualTo(((string?)null, 0)));
    }

    /// <summary>All layers of Kimi K2 in 8 bits beside 8K tokens on a card of 16 GB, fewer on smaller ones.</summary>
    [Test]
    public void A_step_has_the_layers_that_fit()
    {
        Assert.That(GpuDecodeStep.LayersThatFit(GpuBenchSizes.KimiK2, 15L << 30), Is.EqualTo(61));
        Assert.That(GpuDecodeStep.LayersThatFit(GpuBenchSizes.KimiK2, 7L << 30), Is.InRange(30, 40));
        Assert.That(GpuDecodeStep.LayersThatFit(GpuBenchSizes.KimiK2, 1L << 30), Is.Zero);

        // 6.27e9 parameters of attention and router less what stays BF16, 2.64e9 of shared experts, 0.40e9 of the dense layer, 1.17e9 of the head.
        ModelWeights weights = GpuStepWeights.Of(GpuBenchSizes.KimiK2, 61);
        Assert.That(GpuStepWeights.OnDevice(weights).Bytes, Is.EqualTo(10.127 * (1L << 30)).Within(0.5).Percent);
    }

    private static string Run(SimulatedDriver driver, bool json, GpuBenchSizes? sizes = null)
    {
        using var output = new StringWriter();
        GpuBenchReport.Run(() => driver.Table, 0, sizes ?? s_tiny, json, new CliStreams(Stream.Null, output, TextWriter.Null, false), CancellationToken.None);
        return output.ToString();
    }
}
