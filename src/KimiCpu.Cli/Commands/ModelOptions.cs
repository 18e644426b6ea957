// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>The options of every command that opens a model.</summary>
internal sealed class ModelOptions
{
    public Option<string?> Model { get; } = new("--model", "-m") { Description = "Checkpoint folder as downloaded. Default: kimi-nano, embedded.", HelpName = "DIR" };

    public Option<int?> Threads { get; } = WholeNumbers.Threads();

    public Option<bool> TuneThreads { get; } = new("--tune-threads") { Description = "Decode with as many of these threads as are fastest at it (prompts take all); measured the first time, then remembered." };

    public Option<string?> Context { get; } = new("--context") { Description = "Most tokens of prompt and answer together, such as 4096 or 32K (K is 1024). Default: the model's own limit, as far as the cache holds so many.", HelpName = "N" };

    public Option<bool> Exact { get; } = new("--exact") { Description = "Single-precision activations and cache, for verification; slower." };

    public Option<bool> Int8HotPath { get; } = new("--int8-hot-path") { Description = "Copy the weights that every token needs to 8 bits: faster, for memory and time to open; on a GPU it leaves memory for experts and context. Not with --exact." };

    public Option<string?> Device { get; } = new("--device") { Description = "Where attention and everything else that every token needs runs: cpu, auto, cuda or cuda:N (the fastest GPU is 0; with CUDA_DEVICE_ORDER=PCI_BUS_ID numbers are nvidia-smi's). Default: cpu; of GPUs only an NVIDIA H200 has been tried.", HelpName = "DEVICE" };

    public ExpertMemoryOption ExpertMemory { get; } = new();

    public Option<bool> PreloadExperts { get; } = new("--preload") { Description = "Read experts into memory before the first answer." };

    public void AddTo(Command command)
    {
        ModelNames.Refuse(Model);
        command.Add(Model);
        command.Add(Threads);
        command.Add(TuneThreads);
        command.Add(Context);
        command.Add(Exact);
        command.Add(Int8HotPath);
        command.Add(Device);
        command.Add(ExpertMemory);
        command.Add(PreloadExperts);
    }

    /// <exception cref="ArgumentException">Options exclude each other.</exception>
    public void Check(ParseResult parsed)
    {
        if (parsed.GetValue(Exact) && parsed.GetValue(Int8HotPath))
        {
            throw new ArgumentException("--exact and --int8-hot-path exclude each other: give one of them.");
        }
    }

    /// <summary>Null where it is not given.</summary>
    /// <exception cref="FormatException">It is no number of tokens.</exception>
    public int? ContextLength(ParseResult parsed) => parsed.GetValue(Context) is { } text ? Quantity.Tokens(Context.Name, text) : null;

    /// <summary>What is asked of the model, which nothing else need be waited for to find a mistake in.</summary>
    /// <exception cref="ArgumentException">Options exclude each other.</exception>
    /// <exception cref="FormatException">One is none of what it takes.</exception>
    public KimiModelOptions Read(ParseResult parsed)
    {
        Check(parsed);
        return new KimiModelOptions
        {
            Threads = parsed.GetValue(Threads),
            TuneThreads = parsed.GetValue(TuneThreads),
            ContextLength = ContextLength(parsed),
            Exact = parsed.GetValue(Exact),
            Int8HotPath = parsed.GetValue(Int8HotPath),
            Device = parsed.GetValue(Device) is { } device ? KimiDevice.Parse(device) : KimiDevice.Cpu,
            ExpertMemory = ExpertMemory.Bytes(parsed),
            PreloadExperts = parsed.GetValue(PreloadExperts),
        };
    }

    /// <summary>The model's files, of which the tokenizer's are read in a second.</summary>
    public CheckpointFiles Files(ParseResult parsed) => parsed.GetValue(Model) is { } folder ? new FolderCheckpointFiles(folder) : KimiModel.EmbeddedFiles;

    /// <param name="parsed">Names the model.</param>
    /// <param name="options">As <see cref="Read"/> gave them.</param>
    /// <param name="streams">Shown progress and warnings.</param>
    public KimiModel Open(ParseResult parsed, KimiModelOptions options, CliStreams streams)
    {
        using var progress = new ProgressLine(streams, "Opening");
        options = options with { Progress = progress, LoggerFactory = new WarningLines(streams, progress, message => OptionWords.Translate(message, parsed)) };
        return parsed.GetValue(Model) is { } folder ? KimiModel.Open(folder, options) : KimiModel.OpenEmbedded(options);
    }
}
