// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Generation;
using Microsoft.Extensions.Logging;

namespace KimiCpu;

/// <summary>How a model is opened. The defaults suit most machines.</summary>
public sealed record KimiModelOptions
{
    /// <summary>Worker threads; null for one per physical core. At least 1.</summary>
    public int? Threads { get; init; }

    /// <summary>
    /// Measures, when the model opens, with how many threads it decodes fastest: <see cref="Threads"/>, or one per physical core,
    /// and fewer. Where several are as fast the fewest are used, by steps of up to 15 tokens: prompts, which arithmetic binds, and steps of more answers take all threads. The result is remembered for this machine, model and
    /// precision, and for what of the model this machine's CPU computes and where it has its experts, in <c>kimicpu/threads.json</c> among the user's local data (delete it to measure anew), and
    /// <see cref="IKimiModel.Placement"/> says what was chosen. Takes a second or two the first time, and up to half a
    /// minute for a large model. Never changes an answer. Default false.
    /// </summary>
    public bool TuneThreads { get; init; }

    /// <summary>
    /// Single-precision activations and cache instead of int8 activations in INT4 experts, a BF16 cache and, where the CPU
    /// multiplies BF16 (AVX512_BF16), BF16 activations for BF16 weights and, on AMD's CPUs, attention (with AVX512_VBMI for FP8 weights,
    /// too, except kv_b_proj). For verification: slower, and twice the cache bytes. The router's input is never rounded.
    /// </summary>
    public bool Exact { get; init; }

    /// <summary>
    /// Copies the weights that every token needs (attention but kv_b_proj, shared experts, dense layers, head) to 8-bit integers with a
    /// scale for 32 columns when the model opens. A token then reads about half of their bytes, where they are BF16, and prefill runs on integer
    /// instructions; FP8 weights become no smaller, but are multiplied faster, and INT4 ones stay as they are. Opening takes as long as reading those weights once, and the copies take 8.5 bits a weight of memory.
    /// Activations are rounded to int8 there too. Ignored with <see cref="Exact"/>. On a GPU (<see cref="Device"/>) all these weights are then kept in 8 bits there, with a scale
    /// for 128 columns and activations as ever, and what that saves goes to the context, to routed experts and to larger steps of prompts. Default false: weights as stored.
    /// </summary>
    public bool Int8HotPath { get; init; }

    /// <summary>
    /// Where the hot path runs: attention with its cache, dense layers, shared experts, router and head. Default
    /// <see cref="KimiDevice.Cpu"/>, since of all GPUs one NVIDIA H200 only has been tried so far. On a GPU
    /// <see cref="Exact"/> is not available, weights are reduced to 8 bits where they do
    /// not fit otherwise or <see cref="Int8HotPath"/> says so, the cache is too where <see cref="ContextLength"/> does not fit even then, or not into <see cref="KvCacheBytes"/>, and <see cref="KvCacheBytes"/> is of the GPU's memory, null for what is left over, less
    /// <see cref="GpuExpertBytes"/>. When the GPU
    /// is lost while the model runs, the calls that had begun fail; with <see cref="KimiDevice.Auto"/> the next ones run on the
    /// CPU as if there had been no GPU, else they fail at once.
    /// </summary>
    public KimiDevice Device { get; init; }

    /// <summary>
    /// Whether kernels for instructions that .NET does not offer (AVX-512 VNNI and AVX512_BF16, the latter for FP8 weights only where there is AVX512_VBMI too) may be written as machine code
    /// when the model opens. Their pages are never writable and executable at once. Where this is off or the system refuses
    /// executable memory, .NET's own vectors compute more slowly: INT4 and 8-bit products the same bits, products of BF16 and FP8
    /// weights, and attention, with single-precision activations where they would have been BF16 ones. On Linux on x64 a few instructions also keep the process alive when a
    /// mapped file is cut or its drive fails: calls then end with a <see cref="Checkpoints.CheckpointException"/>. Default true.
    /// </summary>
    public bool RuntimeCodeGeneration { get; init; } = true;

    /// <summary>
    /// Most tokens of a prompt and its answer together; null for the model's own limit. Fewer where the cache does not hold so many. At least 1. A GPU (<see cref="Device"/>) makes room for as many as are given
    /// here, as far as <see cref="KvCacheBytes"/> lets it, with weights and at last the cache in 8 bits if need be; for null it reduces weights for 32,768 at most, and the cache never.
    /// <see cref="KimiDevice.Auto"/> passes a GPU over that does not hold so many tokens even then, or for null not 4,096; <see cref="KimiDevice.Cuda"/> takes it with those that fit.
    /// </summary>
    public int? ContextLength { get; init; }

    /// <summary>
    /// Most bytes of the cache: that of running calls, of open sessions, and of earlier calls, which is kept for prompts
    /// that begin alike and given up when there is no other room, the least recently used first and what waiting calls begin with last. Null for what weights,
    /// activations and a reserve leave of the memory available when the model opens: at most a quarter of that memory, and at least one whole context as far as that is no more than a quarter.
    /// It is taken as it is needed. Where the experts do not all fit into memory, null
    /// stands for at most one whole context, and so does whatever is more than the memory available. On a GPU (<see cref="Device"/>) it is a limit and asks for nothing: no weights are reduced to 8 bits for more than
    /// these bytes, nor for their sake, and the cache is reduced where <see cref="ContextLength"/> is given and these bytes do not hold it otherwise.
    /// </summary>
    public long? KvCacheBytes { get; init; }

    /// <summary>
    /// Bytes of memory for routed experts. Null, the default, measures when the model opens what this process may take
    /// (limits of control groups included): where all experts fit they are used in the files' mapping; else, or where a value
    /// is given, they are read into slots of so many bytes past the system's page cache, the missing ones from the drives
    /// during each step, and what every token needs is read into memory of its own where no GPU has it. At least one expert; more than all of
    /// them is as good as all, and what the system refuses to promise (Linux refuses more than all of its memory) fails the opening with a <see cref="KimiException"/>. A CPU that has to take the place of a GPU takes its share from them. Changes no bit of an answer, unless by longer steps of prompts (<see cref="PrefillChunk"/>). Only for checkpoints on a drive.
    /// </summary>
    public long? ExpertMemory { get; init; }

    /// <summary>
    /// Most bytes of a GPU's memory for routed experts: those used most are computed there, beside the others on the CPU, and
    /// change places with them as uses change; and a ring that others pass through in long prompts, where all experts are in main memory and that is measured to be faster.
    /// Only INT4 experts, and only of what weights and a context leave over. Null, the default, is half of that, and what
    /// <see cref="KvCacheBytes"/> keeps from the cache; 0 is none, neither to stay nor to pass. A sum of experts on two sides is rounded otherwise than one on one side, so with any
    /// of them an answer's last bits may depend on the calls before it, and after long prompts on how fast both sides were.
    /// </summary>
    public long? GpuExpertBytes { get; init; }

    /// <summary>
    /// Reads all experts into memory when the model opens, where they are used in the mapping; the first answers are as fast as later ones then. On Linux and macOS they are
    /// locked there if the limit of locked memory (<c>ulimit -l</c>) allows it; else the system may take them back, and the log has a warning. Where they do not fit, fills the slots of
    /// <see cref="ExpertMemory"/> with what earlier runs used most. Takes as long as reading the files. Default false.
    /// </summary>
    public bool PreloadExperts { get; init; }

    /// <summary>
    /// Whether a model whose experts do not all fit into memory, or some of whose experts a GPU holds, counts which ones are used, in a file of
    /// <c>kimicpu/experts</c> among the user's local data, and begins by reading the most used ones when it is opened again. The file is written when the model is disposed of, and every ten minutes in which experts were used.
    /// The counts tell nothing of the texts but which experts they need. Changes an answer only as <see cref="GpuExpertBytes"/> may. Default true.
    /// </summary>
    public bool RememberExperts { get; init; } = true;

    /// <summary>
    /// Whether what a call has computed stays in the cache, for calls whose prompts begin with the same tokens. Never
    /// changes an answer, to the bit; in steps of 512 prompt tokens and more (<see cref="PrefillChunk"/>) and on a GPU (<see cref="Device"/>) last bits depend on how many tokens of a prompt are computed at once, and with it on what is cached. Where this is off, calls outside of sessions begin from nothing and leave nothing, and
    /// those of a session go on from what it or the session that it was branched from keeps, and from nothing else. Turn it
    /// off where callers must not learn from the time to the first token what others have asked. Default true.
    /// </summary>
    public bool PrefixCaching { get; init; } = true;

    /// <summary>
    /// A folder on a drive that keeps what calls have computed (<see cref="PrefixCaching"/>), 64 tokens in a file, for prompts that begin alike when the cache has given it up and when the model is opened again. It is written
    /// in the background and when the model is disposed of, which takes up to 10 s longer then, and read while a call waits for it, others going on. Changes an answer no more than <see cref="PrefixCaching"/> does.
    /// Made where it does not exist. A folder has one model at a time: another one, also of another process, does without it, with a warning; models that take turns in it find their own pages.
    /// What cannot be read, or is damaged, is computed again; where a page cannot be written no more are until the model is opened again. The files tell what the conversations
    /// were to whoever can read them. On Unix only the user may, on Windows whom the folder lets. Null, the default, for none. Not together with <see cref="PrefixCaching"/> off.
    /// </summary>
    public string? PromptCacheDirectory { get; init; }

    /// <summary>Most bytes in <see cref="PromptCacheDirectory"/>, at least 1,000,000,000: beyond them the least recently used files are deleted. Default 50,000,000,000.</summary>
    public long PromptCacheBytes { get; init; } = 50_000_000_000;

    /// <summary>
    /// Most prompt tokens that one step of the model takes in, 1 … 65,536; smaller values let running answers move more often, larger ones read long prompts
    /// faster. From 512 new tokens of a sequence on attention takes fewer operations on the CPU (from 171 on on a GPU), with other last bits.
    /// Null, the default, stands where all experts are in memory for 256 or for as many as give each expert 20, whichever is more: 960 for Kimi K2. Where they come from a drive a step reads almost all
    /// of them however few tokens it takes in, so there null stands for as many, up to 4096, as memory allows, on a GPU too: weights are
    /// reduced to 8 bits there for their sake, but half as many are tried, down to 256, before the context has less room. On a GPU beside which all experts
    /// are in memory, null stands for 256, or as many as a quarter of what is left over of its memory allows, up to 4096 where experts may pass through it and else up to those of the CPU.
    /// </summary>
    public int? PrefillChunk { get; init; }

    /// <summary>How calls share the model: limits of their number and time, and how steadily answers move while prompts enter.</summary>
    public SchedulingOptions Scheduling { get; init; } = new();

    /// <summary>Receives what was opened, what runs where, and warnings; null for silence. What a logger throws is ignored.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>Told while the model opens; may be called from any thread, but by one at a time, and counts up within a phase.</summary>
    public IProgress<LoadProgress>? Progress { get; init; }

    /// <summary>With less of Kimi K2's pages nobody goes on sooner: some 14,000 to 25,000 tokens.</summary>
    internal const long LeastPromptCacheBytes = 1_000_000_000;

    /// <summary>In place of the installed driver, for tests.</summary>
    internal DriverTable? CudaDriver { get; init; }

    /// <summary>How long a GPU may take before it counts as lost, for tests; null for what suits hardware.</summary>
    internal TimeSpan? GpuPatience { get; init; }

    /// <summary>In place of the user's <c>threads.json</c>, for tests.</summary>
    internal string? ThreadsFile { get; init; }

    /// <summary>In place of the model's file in the user's <c>kimicpu/experts</c>, for tests.</summary>
    internal string? ExpertUsesFile { get; init; }

    /// <summary>When what is known of the experts' uses is left behind; another one than the system's for tests.</summary>
    internal TimeProvider UsesTime { get; init; } = TimeProvider.System;
}

/// <summary>How far opening a model has come.</summary>
/// <param name="Phase">What is being done: <c>shards</c>, <c>weights</c> but where copies are made of weights from drives or a GPU takes them, <c>gpu</c> where <see cref="KimiModelOptions.Device"/> asks for one, <c>gpu experts</c> where it is to hold some of them (<see cref="KimiModelOptions.GpuExpertBytes"/>), <c>copies</c> where <see cref="KimiModelOptions.Int8HotPath"/> asks for them, <c>threads</c> where <see cref="KimiModelOptions.TuneThreads"/> does, <c>experts</c> (in MiB) where <see cref="KimiModelOptions.PreloadExperts"/> does.</param>
/// <param name="Done">Steps done in this phase.</param>
/// <param name="Total">Steps of this phase.</param>
public readonly record struct LoadProgress(string Phase, int Done, int Total);
