// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Samples.Agent;

/// <summary>What the command line says.</summary>
public sealed record AgentArguments
{
    /// <summary>The options in a sentence.</summary>
    public const string Usage = "There are --model DIR, --system TEXT, --temperature T, --seed N, --help, --mcp-demo, and --mcp COMMAND ARGUMENTS…, which comes last.";

    /// <summary>Folder of a checkpoint; null for the embedded model.</summary>
    public string? Model { get; private init; }

    /// <summary>An instruction for the model; null for none.</summary>
    public string? System { get; private init; }

    public float Temperature { get; private init; } = 0.6f;

    public long? Seed { get; private init; }

    /// <summary>Command and arguments that start an MCP server on its standard streams; null for none.</summary>
    public IReadOnlyList<string>? Server { get; private init; }

    /// <summary>Whether the options are to be listed, and nothing else done.</summary>
    public bool AsksForHelp { get; private init; }

    /// <summary>Whether this process is the MCP server that <c>--mcp-demo</c> starts.</summary>
    public bool ServesDemo { get; private init; }

    /// <exception cref="FormatException">An option is not known, lacks its value or does not take it.</exception>
    public static AgentArguments Parse(string[] args)
    {
        var parsed = new AgentArguments();
        for (int i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--model":
                    parsed = parsed with { Model = Value(args, ref i) };
                    break;
                case "--system":
                    parsed = parsed with { System = Value(args, ref i) };
                    break;
                case "--temperature":
                    parsed = parsed with { Temperature = OptionNumbers.Temperature("--temperature", Value(args, ref i)) };
                    break;
                case "--seed":
                    parsed = parsed with { Seed = OptionNumbers.Whole<long>("--seed", Value(args, ref i)) };
                    break;
                case "--mcp":
                    parsed = parsed with { Server = [Value(args, ref i), .. args[(i + 1)..]] };
                    i = args.Length;
                    break;
                case "--mcp-demo":
                    parsed = parsed with { Server = DemoServer.Command };
                    break;
                case "--help" or "-h":
                    parsed = parsed with { AsksForHelp = true };
                    break;
                case DemoServer.Option:
                    parsed = parsed with { ServesDemo = true };
                    break;
                default:
                    throw new FormatException($"There is no option {args[i]}. {Usage}");
            }
        }

        return parsed;
    }

    /// <summary>For every answer.</summary>
    /// <param name="tools">That the model may call. Whose schema cannot be enforced, as servers of others may have it, is called with any JSON object.</param>
    public ChatOptions OptionsWith(IEnumerable<AITool> tools) => new()
    {
        Instructions = System,
        Temperature = Temperature,
        Seed = Seed,
        Tools = [.. tools],
        RawRepresentationFactory = _ => new GenerationOptions { AllowUnenforceableTools = true },
    };

    private static string Value(string[] args, ref int i) => ++i < args.Length ? args[i] : throw new FormatException($"{args[i - 1]} needs a value. {Usage}");
}
