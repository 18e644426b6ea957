// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Weights;

namespace KimiCpu;

/// <summary>What an opening model takes of the machine's memory, decided from headers, before weights are read.</summary>
internal sealed class ModelMemory
{
    internal const int UsualChunk = 256;
    private const int LargestChunk = 4096;

    /// <summary>Tokens of a step for each expert from which on multiplying takes longer than reading the weights, or nearly so, on most machines.</summary>
    private const int TokensOfExpert = 20;

    /// <param name="checkpoint">Its headers.</param>
    /// <param name="shape">Of its model.</param>
    /// <param name="options">What the user asks for.</param>
    /// <param name="context">Most tokens of a call.</param>
    /// <param name="available">Bytes that the process may still take.</param>
    /// <exception cref="KimiException">The model does not fit.</exception>
    public ModelMemory(Checkpoint checkpoint, ModelShape shape, KimiModelOptions options, int context, long available)
    {
        Available = available;
        long experts = checkpoint.Tensors.Values.Where(t => t.IsRoutedExpert).Sum(t => t.Length);
        long bytesPerToken = (long)shape.CacheWidth * shape.LayerCount * (options.Exact ? sizeof(float) : sizeof(ushort));
        long quarter = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
        long oneContext = Math.Min(available / 4, context * bytesPerToken);
        long workspace = WorkspaceBytesPerToken(shape);
        LargePrefillChunk = options.PrefillChunk ?? LargeChunk(available, workspace);
        var needs = new MemoryNeeds(experts, checkpoint.TensorBytes - experts, (options.KvCacheBytes ?? oneContext) + (LargePrefillChunk * workspace), available);
        Experts = checkpoint.Files.AreOnDrive ? ExpertMemoryPlan.Choose(needs, options.ExpertMemory) : new ExpertMemoryPlan(null, $"the checkpoint is part of an assembly{(options.ExpertMemory is null ? "" : ", so that KimiModelOptions.ExpertMemory says nothing")}");
        PrefillChunk = Experts.SlotBytes is null ? options.PrefillChunk ?? ChunkInMemory(shape.ExpertCount, shape.ExpertsPerToken, LargePrefillChunk) : LargePrefillChunk;
        GpuPrefillChunk = Experts.SlotBytes is null ? options.PrefillChunk ?? UsualChunk : LargePrefillChunk;
        CacheBytes = options.KvCacheBytes ?? (Experts.SlotBytes is null ? quarter : oneContext);
    }

    /// <summary>Bytes that the process could take when the model was opened.</summary>
    public long Available { get; }

    /// <summary>Where the routed experts go.</summary>
    public ExpertMemoryPlan Experts { get; }

    /// <summary>Budget of the cache.</summary>
    public long CacheBytes { get; }

    /// <summary>Most prompt tokens of a step on the CPU.</summary>
    public int PrefillChunk { get; }

    /// <summary>The same on a GPU, of whose memory each token takes its part, before that is known.</summary>
    public int GpuPrefillChunk { get; }

    /// <summary>The same where reading experts takes long however many tokens they have.</summary>
    public int LargePrefillChunk { get; }

    /// <summary>Most prompt tokens of a step where experts come from a drive, or pass through a GPU.</summary>
    internal static int LargeChunk(long available, long workspace) => (int)Math.Clamp(available / 16 / workspace, UsualChunk, LargestChunk);

    /// <summary>Most prompt tokens of a step on the CPU where all experts are in memory: a step reads most of them however few tokens it takes in.</summary>
    /// <param name="experts">Of a layer; 0 for none.</param>
    /// <param name="expertsPerToken">That a token chooses.</param>
    /// <param name="large">Most that memory allows.</param>
    internal static int ChunkInMemory(int experts, int expertsPerToken, int large) =>
        experts == 0 ? UsualChunk : Math.Clamp(TokensOfExpert * experts / expertsPerToken, UsualChunk, large);

    /// <summary>Activations of a token in a step: rows of the residual, of all heads, and of all experts that it chose.</summary>
    internal static long WorkspaceBytesPerToken(ModelShape shape)
    {
        long rows = 6L * shape.HiddenSize;
        long heads = (long)shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize + shape.ValueHeadSize + shape.CacheWidth);
        long experts = (long)shape.ExpertsPerToken * (shape.HiddenSize + (2L * shape.ExpertIntermediateSize));
        return sizeof(float) * (rows + heads + experts);
    }
}
