// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Routing;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;
using KimiCpu.Generation;
using KimiCpu.Tokens;
using KimiCpu.Weights;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi trace</c>.</summary>
internal static class TraceCommand
{
    public const string Name = "trace";

    private const int DefaultTokens = 256;
    private const int DefaultSyntheticTokens = 2000;

    private const string Remedies = "A smaller --tokens or --chunk, or a shorter text,";

    public static Command Make(CliStreams streams)
    {
        var model = new Option<string?>("--model", "-m") { Description = "Checkpoint folder as downloaded. Default: kimi-nano, embedded.", HelpName = "DIR" };
        ModelNames.Refuse(model);
        var threads = WholeNumbers.Threads();
        var memory = new ExpertMemoryOption();
        var prompt = new Option<string?>("--prompt") { Description = "Text to continue, as it is, without the chat template.", HelpName = "TEXT" };
        var file = new Option<string?>("--file") { Description = "The same from a file.", HelpName = "FILE" };
        Option<int?> tokens = new Option<int?>("--tokens", "-n") { Description = "Most tokens to generate; 0 for the text alone. Default: 256. With --synthetic: tokens to make up; default: 2000.", HelpName = "N" }.Within(0);
        Option<int> chunk = new Option<int>("--chunk") { Description = "Tokens of the text that a forward pass takes in; 1 treats it as if it were generated.", HelpName = "N", DefaultValueFactory = _ => 256 }.Within(1, RoutingTraceFormat.MaxRows);
        var temperature = new Option<float>("--temperature") { Description = "0 (greedy) … 100.", DefaultValueFactory = _ => 0.6f, HelpName = "T" };
        var topP = new Option<float>("--top-p") { Description = "Only the most likely tokens that reach this probability, above 0, at most 1.", DefaultValueFactory = _ => 1, HelpName = "P" };
        var seed = new Option<ulong?>("--seed") { Description = "Same seed, same trace. Default: random.", HelpName = "N" };
        var ignoreEnd = new Option<bool>("--ignore-eos") { Description = "Go on past end-of-text tokens." };
        var output = new Option<string>("--output", "-o") { Description = "The trace; - for standard output, where that is a pipe.", Required = true, HelpName = "FILE" };
        var synthetic = new SyntheticOptions();
        var command = new Command(Name, "Generates text and records which experts each layer chooses and look-ahead predicts, for `kimi simulate`.")
        {
            model, threads, memory, prompt, file, tokens, chunk, temperature, topP, seed, ignoreEnd, output,
        };
        synthetic.AddTo(command);
        var modes = new OptionModes(
            [model, threads, memory, prompt, file, tokens, chunk, temperature, topP, seed, ignoreEnd, output],
            (synthetic.Switch, [tokens, seed, output, .. synthetic.Others]));
        command.SetLongAction(async (parsed, cancellationToken) =>
        {
            modes.Check(parsed);
            string path = OutputFile.PlaceOf(parsed.GetValue(output)!);
            OutputFile.CheckPlace(output.Name, path);
            if (parsed.GetValue(synthetic.Switch) is not null)
            {
                int made = synthetic.Write(parsed, path, parsed.GetValue(tokens) ?? DefaultSyntheticTokens, parsed.GetValue(seed), cancellationToken);
                OutputFile.SummaryTo(path, streams).WriteLine(Summary(made, 0, path));
                return KimiCommand.Ok;
            }

            string text = (parsed.GetValue(prompt), parsed.GetValue(file)) switch
            {
                ({ } given, null) => given,
                (null, { } name) => InputFile.ReadText(file.Name, name, streams),
                (null, null) => await streams.ReadTextAsync(cancellationToken),
                _ => throw new ArgumentException("The text comes from --prompt or from --file, not from both."),
            };
            int most = parsed.GetValue(tokens) ?? DefaultTokens;
            var options = new GenerationOptions
            {
                Temperature = parsed.GetValue(temperature),
                TopP = parsed.GetValue(topP),
                Seed = parsed.GetValue(seed),
                IgnoreEndOfText = parsed.GetValue(ignoreEnd),
                MaxTokens = most,
            };
            long? bytes = memory.Bytes(parsed);
            using Checkpoint checkpoint = OpenedModel.OpenCheckpoint(parsed.GetValue(model));
            OptionChecks.Validate(options with { MaxTokens = Math.Max(1, most) }, checkpoint.Config.VocabularySize);
            int[] ids = KimiTokenizer.Open(checkpoint.Files).Encode(text, cancellationToken: cancellationToken);
            if (ids.Length == 0)
            {
                throw new ArgumentException("There is no text to trace.");
            }

            TracedGeneration.Check(ids, WeightLoader.ShapeOf(checkpoint.Config));
            var cpu = new CpuBackendOptions { Threads = parsed.GetValue(threads), LookAhead = true };
            using var opened = OpenedModel.Open(checkpoint, cpu, bytes, (int)Math.Min((long)ids.Length + most, int.MaxValue), Math.Min(parsed.GetValue(chunk), ids.Length), _ => Remedies);
            int generated = 0;
            string source = parsed.GetValue(file) is { } textFile ? $"text of {Path.GetFileName(textFile)}" : "a prompt";
            RoutingTraceHeader header = TraceRecorder.HeaderOf(opened.Checkpoint, opened.Weights, source);
            using (var writer = OutputFile.Write(output.Name, path, () => new RoutingTraceWriter(path, header)))
            {
                KeptRecording.Run(path, writer, Record, streams.Error);

                void Record()
                {
                    using var progress = new ProgressLine(streams, "Tracing");
                    TracedGeneration.Run(opened, ids, options, parsed.GetValue(chunk), new TraceRecorder(opened.Forward, header), writer, _ => progress.Report("token", ++generated, most), cancellationToken);
                }
            }

            OutputFile.SummaryTo(path, streams).WriteLine(Summary(generated, ids.Length, path));
            return KimiCommand.Ok;
        });
        return command;
    }

    private static string Summary(int generated, int text, string path) => string.Create(
        CultureInfo.InvariantCulture,
        $"{(text > 0 ? $"{text} tokens of text and {generated} generated" : $"{generated} made-up tokens")} in {path}{(FileKind.IsFixed(path) ? "" : $" ({new FileInfo(path).Length} bytes)")}");
}
