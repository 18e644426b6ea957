// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>A test of the tests: a kernel without one of its barriers, fences or waits must be noticed.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class BarrierMutantTests
{
    private static readonly string[] s_lines = Encoding.UTF8.GetString(KernelSet.Ptx()).TrimEnd('\0').Split('\n');
    private static readonly string[] s_ordering = ["bar.sync", "bar.warp.sync", "cp.async.wait_group", "membar"];

    /// <summary>How many mutants survive: block_sum's second barrier where the scratch is not used again.</summary>
    [TestCase("linear_any_bf16_4", 4, 0)]
    [TestCase("linear_bf16_8", 3, 0)]
    [TestCase("gemm_bf16", 2, 0)]
    [TestCase("gemm_int8", 2, 0)]
    [TestCase("gemm_latents_bf16", 2, 0)]
    [TestCase("gemm_latents_int8", 2, 0)]
    [TestCase("split_rows", 2, 1)]
    [TestCase("absorb_bf16_1", 1, 0)]
    [TestCase("absorb_bf16_8", 1, 0)]
    [TestCase("expand_bf16", 1, 0)]
    [TestCase("mla_any_bf16", 2, 0)]
    [TestCase("mla_any_int8", 2, 0)]
    [TestCase("mla_512_bf16", 5, 0)]
    [TestCase("mla_512_int8", 5, 0)]
    [TestCase("mla_rows_512_bf16", 8, 0)]
    [TestCase("mla_rows_512_int8", 8, 0)]
    [TestCase("mla_expanded_bf16", 2, 0)]
    [TestCase("mla_expanded_int8", 2, 0)]
    [TestCase("rope_store_bf16", 2, 1)]
    [TestCase("rope_store_int8", 2, 1)]
    [TestCase("route", 8, 1)]
    [TestCase("finish_layer", 2, 1)]
    [TestCase("expert_round", 3, 1)]
    [TestCase("expert_gate_up", 3, 0)]
    [TestCase("expert_down", 2, 0)]
    [TestCase("expert_gemm_round", 2, 1)]
    [TestCase("expert_gemm_gate_up", 5, 0)]
    [TestCase("expert_gemm_down", 4, 0)]
    public void Every_barrier_that_matters_is_missed(string kernel, int atLeast, int survivors)
    {
        Assert.That(() => Check(kernel, null), Throws.Nothing, "the shipped kernel");
        int begin = Array.FindIndex(s_lines, l => l.StartsWith($".visible .entry {kernel}(", StringComparison.Ordinal));
        int end = Array.FindIndex(s_lines, begin, l => l == "}");
        var unnoticed = new List<string>();
        int mutants = 0;
        for (int i = begin; i < end; i++)
        {
            if (!s_ordering.Any(o => s_lines[i].Contains(o, StringComparison.Ordinal)))
            {
                continue;
            }

            mutants++;
            if (!IsNoticed(kernel, Without(kernel, begin, end, i)))
            {
                unnoticed.Add($"{i + 1 - begin}: {s_lines[i].Trim()}");
            }
        }

        TestContext.Out.WriteLine($"{kernel}: {mutants} mutants, {unnoticed.Count} survive: {string.Join("; ", unnoticed)}");
        Assert.That(mutants, Is.GreaterThanOrEqualTo(atLeast));
        Assert.That(unnoticed, Has.Count.EqualTo(survivors), string.Join("; ", unnoticed));
    }

    /// <summary>A fence of every thread and then the barrier: the thread that counts the block has not fenced what it learned at the barrier.</summary>
    [Test]
    public void A_fence_ahead_of_the_barrier_does_not_order_the_flag()
    {
        int begin = Array.FindIndex(s_lines, l => l.StartsWith(".visible .entry route(", StringComparison.Ordinal));
        int fence = Array.FindIndex(s_lines, begin, l => l.Contains("membar", StringComparison.Ordinal));
        int barrier = Array.FindLastIndex(s_lines, fence, l => l.Contains("bar.sync", StringComparison.Ordinal));
        List<string> lines = [.. s_lines];
        lines.RemoveAt(fence);
        lines.Insert(barrier, s_lines[fence]);
        PtxKernel moved = new PtxModule(string.Join('\n', lines)).Kernels["route"];
        Assert.That(() => Check("route", moved), Throws.TypeOf<PtxFault>().With.Message.Contains("no fence of thread 0 covers"));
    }

    /// <summary>It counts no blocks, so nothing but its own fence is between its stores and the flag.</summary>
    [Test]
    public void A_block_alone_raises_the_flag_behind_its_fence([Values] bool isThere)
    {
        int begin = Array.FindIndex(s_lines, l => l.StartsWith(".visible .entry route(", StringComparison.Ordinal));
        int end = Array.FindIndex(s_lines, begin, l => l == "}");
        int fence = Array.FindIndex(s_lines, begin, l => l.Contains("membar", StringComparison.Ordinal));
        using var harness = new KernelHarness(isThere ? null : Without("route", begin, end, fence));
        Assert.That(
            () => RouterAndModuleTests.CheckRoute(harness, 64, 8, 8, 3, 300, batch: 1),
            isThere ? Throws.Nothing : Throws.TypeOf<PtxFault>().With.Message.Contains("no fence of thread 0 covers"));
    }

    /// <summary>The module's head with one kernel, less one line.</summary>
    private static PtxKernel Without(string kernel, int begin, int end, int line)
    {
        int firstKernel = Array.FindIndex(s_lines, l => l.StartsWith(".visible .entry", StringComparison.Ordinal));
        string[] mutant = [.. s_lines[..firstKernel], .. s_lines[begin..(end + 1)]];
        mutant[firstKernel + line - begin] = "";
        return new PtxModule(string.Join('\n', mutant)).Kernels[kernel];
    }

    private static bool IsNoticed(string kernel, PtxKernel mutant)
    {
        try
        {
            Check(kernel, mutant);
            return false;
        }
        catch (Exception e) when (e is PtxFault or AssertionException)
        {
            return true;
        }
    }

    private static void Check(string kernel, PtxKernel? mutant)
    {
        using var harness = new KernelHarness(mutant);
        CacheFormat cache = kernel.EndsWith("int8", StringComparison.Ordinal) ? CacheFormat.Int8 : CacheFormat.BFloat16;
        switch (kernel.Split('_')[0])
        {
            case "linear" when kernel == "linear_bf16_8":
                LinearTests.Check(harness, (WeightFormat.BFloat16, DeviceFormat.BFloat16), rows: 18, secondRows: 0, columns: 2104, batch: 3, LinearInput.Normalized, accumulate: false, mapped: false);
                break;
            case "linear":
                LinearTests.Check(harness, (WeightFormat.BFloat16, DeviceFormat.BFloat16), rows: 9, secondRows: 0, columns: 2102, batch: 3, LinearInput.Normalized, accumulate: false, mapped: false);
                break;
            case "gemm" when kernel.StartsWith("gemm_latents", StringComparison.Ordinal):
                ExpandedAttentionTests.CheckExpansion(harness, CacheFormat.BFloat16, (WeightFormat.BFloat16, kernel == "gemm_latents_int8" ? DeviceFormat.Int8 : DeviceFormat.BFloat16), latent: 288, rows: 10, first: 0, tokens: 66);
                break;
            case "gemm" or "split":
                LinearTests.Check(harness, (WeightFormat.BFloat16, kernel == "gemm_int8" ? DeviceFormat.Int8 : DeviceFormat.BFloat16), rows: 9, secondRows: 0, columns: 270, batch: 66, LinearInput.Normalized, accumulate: false, mapped: false, tensor: true);
                break;
            case "absorb" or "expand":
                AttentionTests.CheckExpansion(harness, DeviceFormat.BFloat16, 1030);
                break;
            case "mla" when kernel.StartsWith("mla_512", StringComparison.Ordinal):
                AttentionCase.Check(harness, cache, [100], 512, 64, 16, 2.5e-2);

                // The last splits are empty.
                AttentionCase.Check(harness, cache, [4200], 512, 64, 16, 2.5e-2);
                break;
            case "mla" when kernel.StartsWith("mla_rows_512", StringComparison.Ordinal):
                PromptAttentionTests.Check(harness, cache, [(98, 2)], 32, DeviceFormat.BFloat16);
                break;
            case "mla" when kernel.StartsWith("mla_expanded", StringComparison.Ordinal):
                ExpandedAttentionTests.Check(harness, cache, [(180, 20)], 1, 32, (WeightFormat.BFloat16, DeviceFormat.BFloat16), 2048);
                break;
            case "mla":
                AttentionCase.Check(harness, cache, [130], 48, 16, 2, 1e-3);
                break;
            case "rope":
                AttentionTests.CheckStore(harness, cache, 3, 32, 16, 48);
                break;
            case "route":
                RouterAndModuleTests.CheckRoute(harness, 64, 8, 8, 3, 300);
                break;
            case "expert" when kernel.StartsWith("expert_gemm", StringComparison.Ordinal):
                ExpertGemmTests.Check(harness, 544, 544, [5]);
                break;
            case "expert":
                ExpertTests.Check(harness, 544, 64, 3, accumulate: true);
                break;
            default:
                RouterAndModuleTests.CheckFinish(harness);
                break;
        }
    }
}
