// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi logits</c>.</summary>
internal static class LogitsCommand
{
    public const string Name = "logits";

    private const int Chunk = 256;
    private const int ShownTokens = 5;

    private const string Remedies = "A shorter list of --tokens";

    public static Command Make(CliStreams streams)
    {
        var model = new Option<string?>("--model", "-m") { Description = "Checkpoint folder. Default: kimi-nano, embedded.", HelpName = "DIR" };
        ModelNames.Refuse(model);
        var tokens = new Option<string>("--tokens") { Description = "Prompt as ids separated by commas.", Required = true, HelpName = "1,2,3" };
        var all = new Option<bool>("--all") { Description = "One row per position, instead of the last one only." };
        var exact = new Option<bool>("--exact") { Description = "Single-precision activations and cache." };
        var threads = WholeNumbers.Threads();
        var memory = new ExpertMemoryOption();
        var output = new Option<string>("--out", "-o") { Description = "File for the rows: raw little-endian float32, vocabulary values each; - for standard output, where that is a pipe.", Required = true, HelpName = "FILE" };
        var command = new Command(Name, "Writes the logits of a prompt to a file, for verification.") { model, tokens, all, exact, threads, memory, output };
        command.SetLongAction((parsed, cancellationToken) =>
        {
            int[] prompt = [.. parsed.GetValue(tokens)!.Split(',').Select(ReadToken)];
            string file = OutputFile.PlaceOf(parsed.GetValue(output)!);
            OutputFile.CheckPlace(output.Name, file);
            ComputePrecision precision = parsed.GetValue(exact) ? ComputePrecision.Exact : ComputePrecision.Fast;
            var cpu = new CpuBackendOptions { Precision = precision, Threads = parsed.GetValue(threads) };
            long? bytes = memory.Bytes(parsed);
            using Checkpoint checkpoint = OpenedModel.OpenCheckpoint(parsed.GetValue(model));
            Check(prompt, WeightLoader.ShapeOf(checkpoint.Config));
            using var opened = OpenedModel.Open(checkpoint, cpu, bytes, prompt.Length, Chunk, _ => Remedies);
            int rows = parsed.GetValue(all) ? prompt.Length : 1;
            float[] last = Write(opened, prompt, parsed.GetValue(all), file, cancellationToken);
            TextWriter summary = OutputFile.SummaryTo(file, streams);
            summary.WriteLine($"{rows} x {last.Length} float32 in {file}");
            string best = string.Join(", ", Enumerable.Range(0, last.Length).OrderByDescending(i => last[i]).Take(ShownTokens).Select(i => string.Create(CultureInfo.InvariantCulture, $"{i}: {last[i]:F4}")));
            summary.WriteLine($"last position: {best}");
            return KimiCommand.Ok;
        });
        return command;
    }

    private static int ReadToken(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int token)
        ? token
        : throw new FormatException($"--tokens takes ids separated by commas, such as 1,2,3; found '{text}'.");

    /// <summary>Opening the model, and computing what stands before a mistake, may take an hour.</summary>
    /// <exception cref="FormatException">The model has no such token.</exception>
    /// <exception cref="ContextLengthException">They are more than the context holds.</exception>
    private static void Check(int[] prompt, ModelShape shape)
    {
        if (Array.FindIndex(prompt, t => t >= shape.VocabularySize) is >= 0 and int unknown)
        {
            throw new FormatException($"--tokens takes ids 0 … {shape.VocabularySize - 1}; found {prompt[unknown]}.");
        }

        if (prompt.Length > shape.MaxPositions)
        {
            throw new ContextLengthException(FormattableString.Invariant($"--tokens has {prompt.Length:N0} ids; the model's context holds {shape.MaxPositions:N0}."));
        }
    }

    /// <summary>Runs the prompt in chunks and writes rows as they come, beside the file first; returns the last row.</summary>
    private static float[] Write(OpenedModel opened, int[] prompt, bool all, string file, CancellationToken cancellationToken)
    {
        int vocabulary = opened.Weights.Shape.VocabularySize;
        var cache = new KvCache(opened.HotPath, long.MaxValue, Math.Min(opened.Weights.Shape.MaxPositions, int.MaxValue - Chunk));
        using KvSequence sequence = cache.CreateSequence();
        var batch = new RaggedBatch();
        float[] logits = [];
        using UnfinishedFile output = OutputFile.Write("--out", file, () => new UnfinishedFile(file));
        while (sequence.Length < prompt.Length)
        {
            int count = Math.Min(Chunk, prompt.Length - sequence.Length);
            bool last = sequence.Length + count == prompt.Length;
            sequence.Extend(count);
            batch.Clear();
            batch.Add(prompt.AsSpan(sequence.Length, count), sequence.Length, sequence.Pages, all ? LogitsWanted.All : last ? LogitsWanted.Last : LogitsWanted.None);
            logits = new float[batch.LogitRows.Length * vocabulary];
            opened.Forward.Run(batch, logits, cancellationToken);
            sequence.Advance(count);
            output.Stream.Write(MemoryMarshal.AsBytes(logits.AsSpan()));
        }

        output.Finish();
        return logits[^vocabulary..];
    }
}
