// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>The router's hand-over, the end of a layer, and the text of the module itself.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class RouterAndModuleTests
{
    [TestCase(8, 2, 1, 1, 40)]
    [TestCase(16, 4, 4, 2, 64)]
    [TestCase(64, 8, 8, 3, 33)]
    [TestCase(384, 8, 1, 1, 128)]
    [TestCase(1024, 32, 1, 1, 8)]
    [TestCase(400, 8, 1, 1, 9000)]
    public void Experts_are_chosen_as_by_the_reference(int experts, int chosen, int groups, int groupsChosen, int size)
    {
        using var harness = new KernelHarness();
        CheckRoute(harness, experts, chosen, groups, groupsChosen, size);
        CheckRoute(harness, experts, chosen, groups, groupsChosen, size, batch: 1);
    }

    internal static void CheckRoute(KernelHarness harness, int experts, int chosen, int groups, int groupsChosen, int size, int batch = 5)
    {
        ModelShape shape = Shape(experts, chosen, groups, groupsChosen, size);
        float[] logits = KernelHarness.Random(batch * experts, seed: experts);
        float[] bias = KernelHarness.Random(experts, seed: 2);

        // A tie, which the lower id wins, and the largest choice.
        (logits[1], bias[1]) = (logits[0], bias[0] = 2);
        (float[] Logits, float[] Bias) next = (KernelHarness.Random(batch * experts, seed: experts + 1), KernelHarness.Random(experts, seed: 3));
        Routed routed = Route(harness, shape, batch, logits, bias, next);
        for (int row = 0; row < batch; row++)
        {
            var ids = new int[chosen];
            var weights = new float[chosen];
            ReferenceRouter.Route(shape, logits.AsSpan(row * experts, experts), bias, ids, weights);
            for (int k = 0; k < chosen; k++)
            {
                KernelHarness.AssertClose(ids[k], routed.Ids[(row * chosen) + k], 0, $"choice {k} of row {row}");
                KernelHarness.AssertClose(weights[k], routed.Weights[(row * chosen) + k], 3e-6, $"weight {k} of row {row}");
            }

            ReferenceRouter.Route(shape, next.Logits.AsSpan(row * experts, experts), next.Bias, ids, weights);
            for (int k = 0; k < chosen; k++)
            {
                KernelHarness.AssertClose(ids[k], routed.Predicted[(row * chosen) + k], 0, $"guess {k} of row {row}");
            }

            double squares = Enumerable.Range(0, size).Sum(i => (double)routed.Residual[(row * size) + i] * routed.Residual[(row * size) + i]);
            for (int i = 0; i < size; i++)
            {
                KernelHarness.AssertClose(routed.Residual[(row * size) + i] / Math.Sqrt((squares / size) + 1e-5) * routed.Gain[i], routed.Hidden[(row * size) + i], 2e-6, $"hidden {i}");
            }
        }

        KernelHarness.AssertClose(107, routed.Flag, 0, "flag");
        KernelHarness.AssertClose(0, routed.Finished, 0, "finished, ready for the next launch");
    }

    [Test]
    public void A_NaN_makes_all_weights_of_its_row_NaN()
    {
        ModelShape shape = Shape(12, 3, 1, 1, 16);
        float[] logits = KernelHarness.Random(2 * 12, seed: 1);
        logits[12 + 7] = float.NaN;
        using var harness = new KernelHarness();
        Routed routed = Route(harness, shape, 2, logits, KernelHarness.Random(12, seed: 2));
        Assert.That(routed.Weights[..3], Has.None.NaN);
        Assert.That(routed.Weights[3..], Is.All.NaN);
        Assert.That(routed.Ids[3..], Is.EqualTo(new[] { 0, 1, 2 }));
    }

    /// <summary>Neither of the two choices knows the other one.</summary>
    [Test]
    public void A_NaN_of_the_next_layers_router_stays_with_its_guess()
    {
        ModelShape shape = Shape(12, 3, 1, 1, 16);
        float[] logits = KernelHarness.Random(2 * 12, seed: 1);
        float[] bias = KernelHarness.Random(12, seed: 2);
        float[] next = KernelHarness.Random(2 * 12, seed: 3);
        next[7] = float.NaN;
        using var harness = new KernelHarness();
        Routed with = Route(harness, shape, 2, logits, bias, (next, bias));
        Routed without = Route(harness, shape, 2, logits, bias);
        Assert.That(with.Predicted[..3], Is.EqualTo(new[] { 0, 1, 2 }));
        Assert.That((with.Ids, with.Weights, with.Hidden), Is.EqualTo((without.Ids, without.Weights, without.Hidden)));
        Assert.That(without.Predicted, Is.Empty);
    }

    [Test]
    public void A_layers_end_adds_and_notes_the_first_bad_layer()
    {
        using var harness = new KernelHarness();
        CheckFinish(harness);
    }

    internal static void CheckFinish(KernelHarness harness)
    {
        const int Size = 2300;
        float[] residual = KernelHarness.Random(3 * Size, seed: 1);
        float[] routed = KernelHarness.Random(3 * Size, seed: 2);
        float[] shared = KernelHarness.Random(3 * Size, seed: 3);
        routed[(2 * Size) - 1] = float.PositiveInfinity;
        routed[2 * Size] = float.NaN;
        ulong residualOnDevice = harness.Put<float>(residual);
        ulong notFinite = harness.Put<uint>([uint.MaxValue, uint.MaxValue, 1]);
        harness.Kernels.Finish(harness.Stream, 3, new FinishArguments { Residual = residualOnDevice, Routed = harness.Put<float>(routed), SharedOutput = harness.Put<float>(shared), NotFinite = notFinite, Size = Size, Layer = 4 });
        float[] sums = harness.Get<float>(residualOnDevice, 3 * Size);
        for (int i = 0; i < sums.Length; i++)
        {
            float expected = residual[i] + routed[i] + shared[i];
            KernelHarness.AssertClose(float.IsFinite(expected) ? expected : 0, float.IsFinite(expected) ? sums[i] : float.IsFinite(sums[i]) ? double.NaN : 0, 0, $"sum {i}");
        }

        uint[] layers = harness.Get<uint>(notFinite, 3);
        foreach ((int row, uint layer) in new[] { uint.MaxValue, 4u, 1u }.Index())
        {
            KernelHarness.AssertClose(layer, layers[row], 0, $"first bad layer of row {row}");
        }
    }

    [Test]
    public void The_module_has_the_kernels_that_are_launched_with_the_arguments_they_take()
    {
        string text = System.Text.Encoding.UTF8.GetString(KernelSet.Ptx()).TrimEnd('\0');
        PtxModule module = SimulatedDriver.ModuleOf(text);
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        using var kernels = new KernelSet(context);
        Assert.That(driver.CallsOf["cuModuleGetFunction"], Is.EqualTo(module.Kernels.Count));
        Assert.That((module.Version, module.Target), Is.EqualTo((74, "sm_80")));
        foreach (PtxKernel kernel in module.Kernels.Values)
        {
            Assert.That(kernel.Parameters, Has.Count.EqualTo(1), kernel.Name);
            Assert.That(kernel.ParameterBytes, Is.EqualTo(ArgumentBytes(kernel.Name)), kernel.Name);
        }

        Assert.That(text, Does.Not.Contain(".local"), "registers spill");
    }

    [Test]
    public void An_instruction_that_is_too_new_or_unknown_is_refused()
    {
        string text = System.Text.Encoding.UTF8.GetString(KernelSet.Ptx()).TrimEnd('\0');
        Assert.That(() => new PtxModule(text.Replace(".version 7.4", ".version 7.3", StringComparison.Ordinal)), Throws.TypeOf<PtxFault>().With.Message.Contains("needs PTX 7.4"));
        Assert.That(() => new PtxModule(text.Replace("ex2.approx.f32", "tanh.approx.f32", StringComparison.Ordinal)), Throws.TypeOf<PtxFault>().With.Message.Contains("tanh.approx.f32"));
    }

    /// <summary>They depend on nothing that the block waits for, and memory has no pause.</summary>
    [Test]
    public void Weights_are_on_their_way_before_a_block_waits([Values("expand_f32", "expand_bf16", "expand_fp8", "expand_int8")] string kernel)
    {
        PtxInstruction[] code = SimulatedDriver.ModuleOf(System.Text.Encoding.UTF8.GetString(KernelSet.Ptx()).TrimEnd('\0')).Kernels[kernel].Code;
        int wait = Array.FindIndex(code, i => i.Flow == PtxFlow.Barrier);
        Assert.That(wait, Is.Positive);
        Assert.That(code[..wait].Select(i => i.Text), Has.Some.Contains("prefetch.global.L2"));
    }

    /// <summary>One that waits for the one ahead takes as long as all of them: 7168 values of a row by 1024 threads, alone and with their gains, and 384 experts by a warp.</summary>
    [TestCase("route", new[] { 8, 16, 24 })]
    [TestCase("expert_round", new[] { 8, 8 })]
    [TestCase("expert_gemm_round", new[] { 8, 8 })]
    [TestCase("split_rows", new[] { 8 })]
    public void Loads_of_a_row_do_not_wait_for_each_other(string kernel, int[] atOnce)
    {
        List<int> together = [0];
        foreach (PtxInstruction i in SimulatedDriver.ModuleOf(System.Text.Encoding.UTF8.GetString(KernelSet.Ptx()).TrimEnd('\0')).Kernels[kernel].Code)
        {
            if (i.Flow != PtxFlow.Straight)
            {
                together.Add(0);
            }
            else if (i.Text.Contains("ld.global.f32", StringComparison.Ordinal))
            {
                together[^1]++;
            }
        }

        Assert.That(together.Where(n => n > 1).Take(atOnce.Length), Is.EqualTo(atOnce));
    }

    /// <summary>Sixteen splits of two columns are asked for before the first of them is multiplied, by a weight that another lane has.</summary>
    [Test]
    public void Splits_are_on_their_way_together([Values("expand_f32", "expand_bf16", "expand_fp8", "expand_int8")] string kernel)
    {
        PtxInstruction[] code = SimulatedDriver.ModuleOf(System.Text.Encoding.UTF8.GetString(KernelSet.Ptx()).TrimEnd('\0')).Kernels[kernel].Code;
        int together = 0;
        int most = 0;
        foreach (PtxInstruction i in code[..Array.FindIndex(code, i => i.Flow == PtxFlow.Barrier)])
        {
            together = i.Flow == PtxFlow.WarpWide ? 0 : together + (i.Text.Contains("ld.global.f32", StringComparison.Ordinal) ? 1 : 0);
            most = Math.Max(most, together);
        }

        Assert.That(most, Is.EqualTo(32));
    }

    private static unsafe int ArgumentBytes(string kernel) => kernel.Split('_')[0] switch
    {
        "linear" => sizeof(LinearArguments),
        "absorb" => sizeof(AbsorbArguments),
        "expand" => sizeof(ExpandArguments),
        "split" => sizeof(SplitArguments),
        "warm" => sizeof(WarmArguments),
        "gemm" => sizeof(GemmArguments),
        "mla" when kernel.StartsWith("mla_rows_512", StringComparison.Ordinal) => sizeof(AttendRowsArguments),
        "mla" when kernel.StartsWith("mla_expanded", StringComparison.Ordinal) => sizeof(AttendExpandedArguments),
        "mla" => sizeof(AttendArguments),
        "gather" => sizeof(GatherArguments),
        "rope" => sizeof(RopeArguments),
        "route" => sizeof(RouteArguments),
        "finish" => sizeof(FinishArguments),
        "expert" when kernel == "expert_round" => sizeof(ExpertRoundArguments),
        "expert" when kernel == "expert_gate_up" => sizeof(ExpertGateUpArguments),
        "expert" when kernel == "expert_down" => sizeof(ExpertDownArguments),
        "expert" when kernel == "expert_gemm_round" => sizeof(ExpertGemmRoundArguments),
        "expert" when kernel == "expert_gemm_gate_up" => sizeof(ExpertGemmGateUpArguments),
        "expert" => sizeof(ExpertGemmDownArguments),
        _ => throw new InvalidOperationException(kernel),
    };

    private static Routed Route(KernelHarness harness, ModelShape shape, int batch, float[] logits, float[] bias, (float[] Logits, float[] Bias)? next = null)
    {
        int chosen = shape.ExpertsPerToken;
        float[] residual = KernelHarness.Random(batch * shape.HiddenSize, seed: 5);
        float[] gain = KernelHarness.Random(shape.HiddenSize, seed: 6);
        ulong hidden = harness.New<float>(residual.Length);
        ulong ids = harness.New<int>(batch * chosen);
        ulong weights = harness.New<float>(batch * chosen);
        ulong predicted = next is null ? 0 : harness.New<int>(batch * chosen);
        ulong flag = harness.Put<uint>([0]);
        ulong finished = harness.Put<uint>([0]);
        harness.Kernels.Route(harness.Stream, batch, new RouteArguments
        {
            Residual = harness.Put<float>(residual),
            Gain = harness.Put<float>(gain),
            Logits = harness.Put<float>(logits),
            Bias = harness.Put<float>(bias),
            Hidden = hidden,
            Ids = ids,
            Weights = weights,
            Flag = flag,
            FlagBase = harness.Put<uint>([100]),
            Finished = finished,
            NextLogits = next is { } n ? harness.Put<float>(n.Logits) : 0,
            NextBias = next is { } m ? harness.Put<float>(m.Bias) : 0,
            Predicted = predicted,
            Size = (uint)shape.HiddenSize,
            Experts = (uint)shape.ExpertCount,
            Chosen = (uint)chosen,
            Groups = (uint)shape.ExpertGroupCount,
            GroupsChosen = (uint)shape.ExpertGroupsPerToken,
            Normalize = 1,
            Layer = 7,
            Epsilon = 1e-5f,
            Factor = shape.RoutedScalingFactor,
        });
        return new Routed(residual, gain, harness.Get<float>(hidden, residual.Length), harness.Get<int>(ids, batch * chosen), harness.Get<float>(weights, batch * chosen), harness.Get<uint>(flag, 1)[0], harness.Get<uint>(finished, 1)[0], next is null ? [] : harness.Get<int>(predicted, batch * chosen));
    }

    internal static ModelShape Shape(int experts, int chosen, int groups, int groupsChosen, int size, int inner = 1) => new()
    {
        HiddenSize = size,
        LayerCount = 1,
        VocabularySize = 1,
        HeadCount = 1,
        QueryLoraRank = 0,
        KeyValueLoraRank = 1,
        NopeHeadSize = 1,
        RopeHeadSize = 2,
        ValueHeadSize = 1,
        ExpertCount = experts,
        ExpertsPerToken = chosen,
        ExpertIntermediateSize = inner,
        ExpertGroupCount = groups,
        ExpertGroupsPerToken = groupsChosen,
        NormalizeExpertWeights = true,
        RoutedScalingFactor = 2.5f,
        NormEpsilon = 1e-5f,
        MaxPositions = 1,
        Rotary = new RotaryEmbedding(2, 10000, null),
        SoftmaxScale = 1,
    };

    private sealed record Routed(float[] Residual, float[] Gain, float[] Hidden, int[] Ids, float[] Weights, uint Flag, uint Finished, int[] Predicted);
}
