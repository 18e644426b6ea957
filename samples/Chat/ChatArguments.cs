// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Samples.Chat;

/// <summary>What the command line says.</summary>
public sealed record ChatArguments
{
    /// <summary>The options in a sentence.</summary>
    public const string Usage = "There are --model DIR, --system TEXT, --temperature T, --seed N and --help.";

    /// <summary>Folder of a checkpoint; null for the embedded model.</summary>
    public string? Model { get; private init; }

    /// <summary>An instruction for the model; null for none.</summary>
    public string? System { get; private init; }

    /// <summary>For every answer.</summary>
    public GenerationOptions Options { get; private init; } = new() { Temperature = 0.6f };

    /// <summary>Whether the options are to be listed, and nothing else done.</summary>
    public bool AsksForHelp { get; private init; }

    /// <exception cref="FormatException">An option is not known, lacks its value or does not take it.</exception>
    public static ChatArguments Parse(string[] args)
    {
        var parsed = new ChatArguments();
        for (int i = 0; i < args.Length; i++)
        {
            parsed = args[i] switch
            {
                "--help" or "-h" => parsed with { AsksForHelp = true },
                "--model" => parsed with { Model = Value(args, ref i) },
                "--system" => parsed with { System = Value(args, ref i) },
                "--temperature" => parsed with { Options = parsed.Options with { Temperature = OptionNumbers.Temperature("--temperature", Value(args, ref i)) } },
                "--seed" => parsed with { Options = parsed.Options with { Seed = OptionNumbers.Whole<ulong>("--seed", Value(args, ref i)) } },
                _ => throw new FormatException($"There is no option {args[i]}. {Usage}"),
            };
        }

        return parsed;
    }

    private static string Value(string[] args, ref int i) => ++i < args.Length ? args[i] : throw new FormatException($"{args[i - 1]} needs a value. {Usage}");
}
