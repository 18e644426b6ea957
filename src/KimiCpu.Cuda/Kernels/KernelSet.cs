// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Kernels;

/// <summary>The kernels of kimi.ptx on one GPU, with the grids that their sources ask for.</summary>
internal sealed class KernelSet : IDisposable
{
    /// <summary>Parts that a row's cache is cut into at most on any GPU: max_splits of Kernels/cache.h.</summary>
    public const int MaxSplits = 32;

    /// <summary>Experts that route has room for: most_experts of Kernels/router.cu.</summary>
    public const int MaxExperts = 1024;

    /// <summary>Experts of a token that route can choose: one a lane.</summary>
    public const int MaxExpertsPerToken = 32;

    /// <summary>Splits of short caches: of up to 512 tokens.</summary>
    private const int FewSplits = 4;

    /// <summary>Tokens of a split while there are fewer than <see cref="MostSplits(Compute.ModelShape)"/>: split_tokens of Kernels/cache.h.</summary>
    private const int SplitTokens = 128;

    /// <summary>A block's shared memory on compute capabilities 8.6 and 8.9.</summary>
    private const int MaxSharedBytes = 99 * 1024;

    /// <summary>expanded::shared_bytes of Kernels/mla_expanded.cu.</summary>
    private const int ExpandedAttentionBytes = 86016;

    /// <summary>Of route, expert_round and expert_gemm_round, which norm a row by one block, all in the same order: what they form must have the same bits.</summary>
    private const int RowThreads = 1024;

    /// <summary>What a block of finish_layer adds, and pairs that a block of rope_store_* rotates.</summary>
    private const int FinishedValues = 1024;
    private const int RotatedPairs = 512;

    private const int RowsOfBlock = 8;

    /// <summary>What a block of warm asks for: a line of 128 bytes a thread.</summary>
    private const int WarmedBytes = 256 * 128;

    /// <summary>The share of the second-level cache that is filled ahead: what lies between needs some, and one that is in two halves may keep a line in both.</summary>
    private const int WarmedShare = 2;

    /// <summary>
    /// Sizes of Kernels/linear.cu: rows of a weight and of the batch that a block takes, columns that a warp takes at once, bytes that its input of a row takes.
    /// </summary>
    private const int LinearRows = 16;
    private const int LinearBatch = 8;
    private const int LinearStep = 128;
    private const int LinearStagedBytes = 576;
    private const int MaxLinearWarps = 12;

    /// <summary>Of so many steps and fewer, 12 warps would have one or two each, and nothing to load a turn ahead; four have up to four.</summary>
    private const int NarrowSteps = 16;
    private const int NarrowLinearWarps = 4;

    /// <summary>The GPU that the numbers of warps were measured on, an H200, has so many.</summary>
    private const int MeasuredMultiprocessors = 132;

    /// <summary>
    /// Where there are as few, a block has to keep more bytes on their way. Of one row and 8 bits, that many, or twice as many with half of the warps, are as many
    /// blocks as that GPU holds at once, and none is left over that would begin when all others end.
    /// </summary>
    private const int FewOutputs = 2 * LinearRows * MeasuredMultiprocessors;

    /// <summary>Of more outputs than twice that blocks follow each other anyway.</summary>
    private const int ManyOutputsLinearWarps = 8;

    /// <summary>Of one row and BF16 a multiprocessor's registers hold one block of 12 warps, or two of so many.</summary>
    private const int PairedLinearWarps = 8;

    private const int AbsorbedRows = 8;
    private const int AbsorbedColumns = 256;

    /// <summary>Rows of a head's values that a block of <see cref="Expand"/> makes at once.</summary>
    private const int ExpandedValues = 64;
    private const int TensorLatent = 512;
    private const int TensorRope = 64;
    private const int TensorHeads = 16;
    private const int TensorHeadsOfRow = 32;
    private const int ExpandedQueries = 128;
    private const int ExpandedNope = 128;
    private const int ExpandedRope = 64;
    private const int ExpandedValue = 128;
    private const int GatheredTokens = 8;
    private const int GemmRows = 64;
    private const int GemmOutputs = 128;
    private const int GemmColumns = 32;
    private const int ExpertThreads = 512;
    private const int ExpertRows = 32;

    private const int ExpertGemmTokens = 16;
    private const int ExpertGemmOutputs = 64;

    /// <summary>expert_gemm::shared_bytes of Kernels/expert_gemm.cu.</summary>
    private const int ExpertGemmBytes = 34048;

    /// <summary>Of a rounded row in shared memory, beside what a kernel declares itself.</summary>
    private const int MaxRoundedBytes = MaxSharedBytes - 1024;

    /// <summary>Rows of a batch that one block of linear_any_* multiplies; the code for few rows spends nothing on absent ones.</summary>
    private static readonly int[] s_batchRows = [1, 4, 8];

    private readonly int _multiprocessors;
    private readonly long _mostWarmedBytes;
    private readonly CudaModule _module;
    private readonly CudaKernel?[] _linear;
    private readonly CudaKernel?[] _linearRows;
    private readonly CudaKernel[,] _linearAny;
    private readonly CudaKernel?[] _gemm;
    private readonly CudaKernel?[] _gemmLatents;
    private readonly CudaKernel[] _absorb;
    private readonly CudaKernel[] _absorbRows;
    private readonly CudaKernel[] _expand;
    private readonly CudaKernel[] _ropeStore;
    private readonly CudaKernel[] _attendAny;
    private readonly CudaKernel[] _attendTensor;
    private readonly CudaKernel[] _attendTensorRows;
    private readonly CudaKernel[] _attendExpanded;
    private readonly CudaKernel[] _gather;
    private readonly CudaKernel _split;
    private readonly CudaKernel _warm;
    private readonly CudaKernel _route;
    private readonly CudaKernel _finish;
    private readonly CudaKernel _expertRound;
    private readonly CudaKernel _expertGateUp;
    private readonly CudaKernel _expertDown;
    private readonly CudaKernel _expertGemmRound;
    private readonly CudaKernel _expertGemmGateUp;
    private readonly CudaKernel _expertGemmDown;

    public KernelSet(CudaContext context)
    {
        _multiprocessors = context.MultiprocessorCount;
        _mostWarmedBytes = context.SecondLevelCacheBytes / WarmedShare;
        _module = new CudaModule(context, Ptx());
        try
        {
            string[] formats = ["f32", "bf16", "fp8", "int8"];
            _linear = new CudaKernel?[formats.Length];
            _linearRows = new CudaKernel?[formats.Length];
            _linearAny = new CudaKernel[formats.Length, s_batchRows.Length];
            _gemm = new CudaKernel?[formats.Length];
            _gemmLatents = new CudaKernel?[formats.Length];
            _absorb = new CudaKernel[formats.Length];
            _absorbRows = new CudaKernel[formats.Length];
            _expand = new CudaKernel[formats.Length];
            for (int f = 0; f < formats.Length; f++)
            {
                for (int r = 0; r < s_batchRows.Length; r++)
                {
                    _linearAny[f, r] = _module.GetKernel($"linear_any_{formats[f]}_{s_batchRows[r]}", 256);
                }

                if ((DeviceFormat)f != DeviceFormat.Float32)
                {
                    _linear[f] = _module.GetKernel($"linear_{formats[f]}_1", 32 * MaxLinearWarps);
                    _linearRows[f] = _module.GetKernel($"linear_{formats[f]}_{LinearBatch}", 32 * MaxLinearWarps, MaxLinearWarps * LinearBatch * LinearStagedBytes);
                    _gemm[f] = _module.GetKernel($"gemm_{formats[f]}", 256, GemmBytes((DeviceFormat)f));
                    _gemmLatents[f] = _module.GetKernel($"gemm_latents_{formats[f]}", 256, GemmLatentsBytes((DeviceFormat)f));
                }

                _absorb[f] = _module.GetKernel($"absorb_{formats[f]}_1", 256);
                _absorbRows[f] = _module.GetKernel($"absorb_{formats[f]}_{AbsorbedRows}", 256);
                _expand[f] = _module.GetKernel($"expand_{formats[f]}", 256, MaxSharedBytes);
            }

            (CacheFormat Format, string Name)[] caches = [(CacheFormat.BFloat16, "bf16"), (CacheFormat.Int8, "int8")];
            _ropeStore = [.. caches.Select(c => _module.GetKernel($"rope_store_{c.Name}", 256))];
            _attendAny = [.. caches.Select(c => _module.GetKernel($"mla_any_{c.Name}", 128, MaxSharedBytes - 1024))];
            _attendTensor = [.. caches.Select(c => _module.GetKernel($"mla_512_{c.Name}", 256, TensorAttentionBytes(c.Format)))];
            _attendTensorRows = [.. caches.Select(c => _module.GetKernel($"mla_rows_512_{c.Name}", 256, TensorAttentionRowsBytes(c.Format)))];
            _attendExpanded = [.. caches.Select(c => _module.GetKernel($"mla_expanded_{c.Name}", 256, ExpandedAttentionBytes))];
            _gather = [.. caches.Select(c => _module.GetKernel($"gather_latents_{c.Name}", 256))];
            _split = _module.GetKernel("split_rows", 256);
            _warm = _module.GetKernel("warm", 256);
            _route = _module.GetKernel("route", RowThreads);
            _finish = _module.GetKernel("finish_layer", 256);
            _expertRound = _module.GetKernel("expert_round", RowThreads);
            _expertGateUp = _module.GetKernel("expert_gate_up", ExpertThreads, MaxRoundedBytes);
            _expertDown = _module.GetKernel("expert_down", ExpertThreads, MaxRoundedBytes);
            _expertGemmRound = _module.GetKernel("expert_gemm_round", RowThreads);
            _expertGemmGateUp = _module.GetKernel("expert_gemm_gate_up", 256, ExpertGemmBytes);
            _expertGemmDown = _module.GetKernel("expert_gemm_down", 256, ExpertGemmBytes);
        }
        catch
        {
            _module.Dispose();
            throw;
        }
    }

    /// <summary>Each entry.</summary>
    public IReadOnlyList<CudaKernel> All => _module.Kernels;

    /// <summary>The PTX text, ending in a zero byte.</summary>
    public static byte[] Ptx()
    {
        using Stream resource = typeof(KernelSet).Assembly.GetManifestResourceStream("kimi.ptx")!;
        byte[] text = new byte[resource.Length + 1];
        resource.ReadExactly(text, 0, (int)resource.Length);
        return text;
    }

    /// <summary>Parts that a row's cache is cut into at most: as many as make the row's blocks one wave on this GPU.</summary>
    public int MostSplits(Compute.ModelShape shape) => MostSplits(shape, _multiprocessors);

    /// <summary>
    /// The same on a GPU of so many multiprocessors. A block of the tensor cores' kernel needs one for itself, and where a few blocks are left over they run
    /// alone when all others have ended, and take as long once more. The kernel for any sizes has several blocks on each.
    /// </summary>
    public static int MostSplits(Compute.ModelShape shape, int multiprocessors) =>
        SuitsTensorAttention(shape.KeyValueLoraRank, shape.RopeHeadSize, shape.HeadCount) ? Math.Clamp(multiprocessors / (shape.HeadCount / TensorHeads), 1, MaxSplits) : MaxSplits;

    /// <summary>How many splits a cache of so many tokens has: splits_of of Kernels/cache.h.</summary>
    public static int Splits(int tokens, int most) => Math.Clamp((tokens + SplitTokens - 1) / SplitTokens, 1, most);

    /// <summary>
    /// Splits of a grid for caches of up to so many tokens: no fewer than the longest has, and one of two numbers, so that launches are recorded twice
    /// at most, however long a cache becomes. Blocks of a split that a row does not have end at once, so no bit depends on it.
    /// </summary>
    public static int GridSplits(int tokens, int most) => Splits(tokens, most) <= FewSplits ? Math.Min(FewSplits, most) : most;

    /// <summary>y = f(x) W of one or two weights of one format with the same input.</summary>
    public void Linear(CudaStream stream, DeviceFormat format, in LinearArguments arguments)
    {
        int batch = (int)arguments.Batch;
        bool gates = arguments.Output == LinearOutput.Gated;
        if (!SuitsLinear(format, arguments.First) || (arguments.Second.Rows > 0 && !SuitsLinear(format, arguments.Second)))
        {
            if (gates)
            {
                throw new ArgumentException("Gate and up do not suit the kernels that multiply them together.", nameof(arguments));
            }

            int choice = batch == 1 ? 0 : batch <= 4 ? 1 : 2;
            int rows = (int)(arguments.First.Rows + arguments.Second.Rows);
            _linearAny[(int)format, choice].Launch(stream, Blocks(rows, RowsOfBlock), Blocks(batch, s_batchRows[choice]), 1, arguments);
            return;
        }

        CudaKernel kernel = (batch == 1 ? _linear : _linearRows)[(int)format]!;
        int batchRows = batch == 1 ? 1 : LinearBatch;
        int blocks = gates
            ? Blocks((int)arguments.First.Rows, LinearRows / 2)
            : Blocks((int)arguments.First.Rows, LinearRows) + Blocks((int)arguments.Second.Rows, LinearRows);
        int warps = LinearWarps(format, (int)(arguments.First.Rows + arguments.Second.Rows), (int)arguments.First.Columns, _multiprocessors);
        kernel.Launch(stream, blocks, Blocks(batch, batchRows), 1, arguments, warps * batchRows * LinearStagedBytes, 32 * warps);
    }

    /// <summary>Warps that share a block's columns. What is added in which order depends on it, so it depends on the weights and the GPU alone.</summary>
    internal static int LinearWarps(DeviceFormat format, int outputs, int columns, int multiprocessors) =>
        Blocks(columns, LinearStep) <= NarrowSteps ? NarrowLinearWarps
        : outputs <= FewOutputs ? (format == DeviceFormat.BFloat16 && RunsAsPairs(outputs, multiprocessors) ? PairedLinearWarps : MaxLinearWarps)
        : outputs <= 2 * FewOutputs ? MaxLinearWarps / 2
        : ManyOutputsLinearWarps;

    /// <summary>
    /// Whether some of the blocks would be left over, one a multiprocessor, and none are, two on each: on GPUs smaller than the measured one, q_a with kv_a of Kimi K2.
    /// Two full rounds lose nothing, and still smaller GPUs have some left over either way. Never of as few outputs as a router may have beside the next layer's: alone and with that it must have the same warps.
    /// </summary>
    private static bool RunsAsPairs(int outputs, int multiprocessors) =>
        outputs > 2 * MaxExperts && multiprocessors < MeasuredMultiprocessors && Blocks(outputs, LinearRows) > multiprocessors && Blocks(outputs, LinearRows) < 2 * multiprocessors;

    /// <summary>Whether <see cref="Gemm"/> takes a weight: one in single precision it does not, and factors must be those of whole tiles.</summary>
    public static bool SuitsGemm(DeviceWeight weight) => weight.Format switch
    {
        DeviceFormat.Float32 => false,
        DeviceFormat.BFloat16 => true,
        _ => weight.Matrix.ScaleColumns % GemmColumns == 0,
    };

    /// <summary>Values of one part of a row that has been split.</summary>
    public static int PartStride(int columns) => Blocks(columns, GemmColumns) * GemmColumns;

    /// <summary>The order of columns that <see cref="Gemm"/> wants of its input.</summary>
    public static uint ForBytes(DeviceFormat format) => format == DeviceFormat.BFloat16 ? 0u : 1;

    /// <summary>What a linear layer makes of its input, in two BF16 parts.</summary>
    public void Split(CudaStream stream, int batch, in SplitArguments arguments) =>
        _split.Launch(stream, batch, 1, 1, arguments);

    /// <summary>y = x W on the tensor cores, of one or two weights of one format, x split before.</summary>
    public void Gemm(CudaStream stream, DeviceFormat format, in GemmArguments arguments)
    {
        int tiles = Blocks((int)arguments.HeadRows, GemmOutputs) + Blocks((int)arguments.Second.Rows, GemmOutputs);
        _gemm[(int)format]!.Launch(stream, Blocks((int)arguments.Batch, GemmRows), tiles, (int)arguments.Heads, arguments, GemmBytes(format));
    }

    public void RopeStore(CudaStream stream, CacheFormat cache, int batch, in RopeArguments arguments) =>
        _ropeStore[(int)cache].Launch(stream, batch, 1 + Blocks((int)(arguments.Heads * arguments.Cache.Rope / 2), RotatedPairs), 1, arguments);

    /// <summary>Each row reads the weight for itself, which keeps more of the GPU busy where rows are few.</summary>
    public void Absorb(CudaStream stream, DeviceFormat format, int heads, in AbsorbArguments arguments) =>
        _absorb[(int)format].Launch(stream, heads, (int)arguments.Batch, Blocks((int)arguments.Expansion.Columns, AbsorbedColumns), arguments);

    /// <summary>The same for many rows, which share what they read; the same bits.</summary>
    public void AbsorbRows(CudaStream stream, DeviceFormat format, int heads, in AbsorbArguments arguments) =>
        _absorbRows[(int)format].Launch(stream, heads, Blocks((int)arguments.Batch, AbsorbedRows), Blocks((int)arguments.Expansion.Columns, AbsorbedColumns), arguments);

    /// <summary>Whether <see cref="AttendRows"/> suits a model.</summary>
    public static bool SuitsAttendRows(Compute.ModelShape shape) =>
        shape.KeyValueLoraRank == TensorLatent && shape.RopeHeadSize == TensorRope && shape.HeadCount % TensorHeadsOfRow == 0;

    /// <summary>Attention of many rows on the tensor cores, without splits.</summary>
    public void AttendRows(CudaStream stream, CacheFormat cache, int batch, in AttendRowsArguments arguments) =>
        _attendTensorRows[(int)cache].Launch(stream, batch * ((int)arguments.Heads / TensorHeadsOfRow), 1, 1, arguments, TensorAttentionRowsBytes(cache));

    /// <summary>Whether <see cref="AttendExpanded"/> and what comes before it suit a model.</summary>
    public static bool SuitsAttendExpanded(Compute.ModelShape shape) =>
        shape.NopeHeadSize == ExpandedNope && shape.RopeHeadSize == ExpandedRope && shape.ValueHeadSize == ExpandedValue && shape.KeyValueLoraRank % GemmColumns == 0;

    /// <summary>Latents of neighbouring tokens in rows, in the order that <see cref="GemmLatents"/> wants.</summary>
    public void GatherLatents(CudaStream stream, CacheFormat cache, in GatherArguments arguments) =>
        _gather[(int)cache].Launch(stream, Blocks((int)arguments.Tokens, GatheredTokens), 1, 1, arguments);

    /// <summary>One weight times rows of latents, in BF16; without accumulation.</summary>
    public void GemmLatents(CudaStream stream, DeviceFormat format, in GemmArguments arguments) =>
        _gemmLatents[(int)format]!.Launch(stream, Blocks((int)arguments.Batch, GemmRows), Blocks((int)arguments.HeadRows, GemmOutputs), 1, arguments, GemmLatentsBytes(format));

    /// <summary>Attention of many rows of one sequence over a block of expanded keys and values.</summary>
    public void AttendExpanded(CudaStream stream, CacheFormat cache, in AttendExpandedArguments arguments) =>
        _attendExpanded[(int)cache].Launch(stream, Blocks((int)arguments.Batch, ExpandedQueries), (int)arguments.Heads, 1, arguments, ExpandedAttentionBytes);

    /// <param name="stream">Where to.</param>
    /// <param name="cache">Its format.</param>
    /// <param name="splits">At least what the longest row of the batch has.</param>
    /// <param name="batch">Rows.</param>
    /// <param name="arguments">The rest.</param>
    public void Attend(CudaStream stream, CacheFormat cache, int splits, int batch, in AttendArguments arguments)
    {
        int latent = (int)arguments.Cache.Latent;
        int rope = (int)arguments.Cache.Rope;
        int heads = (int)arguments.Heads;
        if (SuitsTensorAttention(latent, rope, heads))
        {
            _attendTensor[(int)cache].Launch(stream, splits, heads / TensorHeads, batch, arguments, TensorAttentionBytes(cache));
        }
        else
        {
            _attendAny[(int)cache].Launch(stream, splits, heads, batch, arguments, AttendAnyBytes(latent, rope));
        }
    }

    /// <summary>The heads of one row are fewer than a large GPU has multiprocessors: its values are made by twice as many blocks, to the same bits.</summary>
    public void Expand(CudaStream stream, DeviceFormat format, int heads, int batch, in ExpandArguments arguments)
    {
        int parts = batch == 1 ? Math.Min(2, Blocks((int)arguments.Value, ExpandedValues)) : 1;
        _expand[(int)format].Launch(stream, heads, batch, parts, arguments, ExpandBytes((int)arguments.Expansion.Columns));
    }

    public void Route(CudaStream stream, int batch, in RouteArguments arguments) =>
        _route.Launch(stream, batch, 1, 1, arguments);

    /// <summary>Has the second-level cache read as much of this as it may keep, from the beginning.</summary>
    public void Warm(CudaStream stream, DeviceRange range)
    {
        int bytes = (int)Math.Min(range.Bytes, _mostWarmedBytes);
        if (bytes > 0)
        {
            _warm.Launch(stream, Blocks(bytes, WarmedBytes), 1, 1, new WarmArguments { Data = range.Address, Bytes = (uint)bytes });
        }
    }

    public void Finish(CudaStream stream, int batch, in FinishArguments arguments) =>
        _finish.Launch(stream, batch, Blocks((int)arguments.Size, FinishedValues), 1, arguments);

    /// <summary>Whether a rounded row of the model finds room in shared memory.</summary>
    public static bool SuitsExperts(Compute.ModelShape shape) => RoundedBytes(Math.Max(shape.HiddenSize, shape.ExpertIntermediateSize)) <= MaxRoundedBytes;

    /// <summary>Of a row rounded to 8 bits, in whole groups of 32 columns: rounded_bytes of Kernels/experts.cu.</summary>
    public static int RoundedBytes(int columns) => ((columns / ExpertRows * 40) + 15) / 16 * 16;

    /// <summary>Finds out which of the chosen experts have slots, and rounds the rows that have any.</summary>
    public void RoundForExperts(CudaStream stream, int batch, in ExpertRoundArguments arguments) =>
        _expertRound.Launch(stream, batch, 1, 1, arguments);

    public void ExpertGateUp(CudaStream stream, in ExpertGateUpArguments arguments) =>
        _expertGateUp.Launch(stream, (int)arguments.InnerSize / ExpertRows, 1, 1, arguments, RoundedBytes((int)arguments.Size));

    public void ExpertDown(CudaStream stream, int batch, in ExpertDownArguments arguments) =>
        _expertDown.Launch(stream, (int)arguments.Size / ExpertRows, batch, 1, arguments, RoundedBytes((int)arguments.InnerSize));

    /// <summary>Rounds all rows for the experts that the tensor cores multiply.</summary>
    public void RoundForExpertGemm(CudaStream stream, int batch, in ExpertGemmRoundArguments arguments) =>
        _expertGemmRound.Launch(stream, batch, 1, 1, arguments);

    /// <summary>Gate and up of one expert for all of its tokens, on the tensor cores.</summary>
    public void ExpertGemmGateUp(CudaStream stream, in ExpertGemmGateUpArguments arguments) =>
        _expertGemmGateUp.Launch(stream, Blocks((int)arguments.Count, ExpertGemmTokens), (int)arguments.InnerSize / ExpertRows, 1, arguments, ExpertGemmBytes);

    /// <summary>Down of one expert, added to the output.</summary>
    public void ExpertGemmDown(CudaStream stream, in ExpertGemmDownArguments arguments) =>
        _expertGemmDown.Launch(stream, Blocks((int)arguments.Count, ExpertGemmTokens), Blocks((int)arguments.Size, ExpertGemmOutputs), 1, arguments, ExpertGemmBytes);

    public void Dispose() => _module.Dispose();

    /// <summary>Why a model's sizes do not suit the kernels; null where they do.</summary>
    public static string? Objection(Compute.ModelShape shape) =>
        shape.ExpertCount > MaxExperts ? $"{shape.ExpertCount} experts; {MaxExperts} are the most"
        : shape.ExpertsPerToken > MaxExpertsPerToken ? $"{shape.ExpertsPerToken} experts a token; {MaxExpertsPerToken} are the most"
        : AttendAnyBytes(shape.KeyValueLoraRank, shape.RopeHeadSize) > MaxSharedBytes - 1024 ? $"a latent of {shape.KeyValueLoraRank} values is too wide"
        : null;

    internal static int AttendAnyBytes(int latent, int rope) => ((5 * latent) + rope) * sizeof(float);

    internal static int ExpandBytes(int latent) => (latent + 15) / 16 * 20 * sizeof(float);

    /// <summary>mla::shared_bytes of Kernels/mla_512.cu.</summary>
    private static int TensorAttentionBytes(CacheFormat cache) => cache == CacheFormat.BFloat16 ? 98560 : 66304;

    /// <summary>mla_rows::shared_bytes of Kernels/mla_rows.cu.</summary>
    private static int TensorAttentionRowsBytes(CacheFormat cache) => cache == CacheFormat.BFloat16 ? 96128 : 71552;

    /// <summary>gemm::shared_bytes of Kernels/gemm.cu: three stages of two parts of the input and a tile of the weight.</summary>
    private static int GemmBytes(DeviceFormat format) => format == DeviceFormat.BFloat16 ? 61440 : 49152;

    /// <summary>The same of one part.</summary>
    private static int GemmLatentsBytes(DeviceFormat format) => format == DeviceFormat.BFloat16 ? 46080 : 33792;

    /// <summary>Whether few rows of gate and up can be multiplied together: by kernels that have both at once, which lie alike.</summary>
    public static bool SuitsGate(DeviceWeight gate, DeviceWeight up)
    {
        DeviceMatrix first = gate.Matrix;
        DeviceMatrix second = up.Matrix;
        return gate.Format == up.Format && SuitsLinear(gate.Format, first) && SuitsLinear(up.Format, second)
            && (first.Rows, first.Columns, first.Stride, first.ScaleRows, first.ScaleColumns, first.ScalesPerRow) == (second.Rows, second.Columns, second.Stride, second.ScaleRows, second.ScaleColumns, second.ScalesPerRow);
    }

    /// <summary>Rows of the input must be aligned, and factors those of whole steps.</summary>
    internal static bool SuitsLinear(DeviceFormat format, in DeviceMatrix weight) =>
        weight.Columns % 4 == 0 && (format is DeviceFormat.BFloat16 or DeviceFormat.Int8 || (format == DeviceFormat.Float8 && weight.ScaleColumns % LinearStep == 0));

    private static bool SuitsTensorAttention(int latent, int rope, int heads) => latent == TensorLatent && rope == TensorRope && heads % TensorHeads == 0;

    private static int Blocks(int items, int each) => (items + each - 1) / each;
}
