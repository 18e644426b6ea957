// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.CommandLine.Parsing;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Commands;

/// <summary>Other programs take models by name and download them. Here nothing is downloaded, and whoever types what they take there is told what to type here.</summary>
internal static class ModelNames
{
    /// <summary>Refuses names of models in place of a folder.</summary>
    public static void Refuse(Option<string?> folder) => folder.Validators.Add(result => Refuse(result, $"{folder.Name} DIR"));

    /// <inheritdoc cref="Refuse(Option{string?})"/>
    public static void Refuse(Argument<string> folder) => folder.Validators.Add(result => Refuse(result, folder.Name));

    /// <summary>What to type in place of another program's command; null where the word is none of those.</summary>
    /// <param name="words">All of the command line.</param>
    public static string? InPlaceOf(string[] words)
    {
        string? named = words.Length > 1 ? KnownModels.RepositoryOf(words[1]) : null;
        return words.FirstOrDefault() switch
        {
            "pull" => $"'pull' is no command of kimi: {Download(named ?? (words.Length > 1 ? "PUBLISHER/MODEL" : $"{KnownModels.Publisher}/{KnownModels.Default}"))}, then `kimi chat --model DIR`.",
            "run" => $"'run' is no command of kimi: `kimi chat --model DIR` is a conversation, `kimi generate --model DIR PROMPT` one answer{(named is null ? "" : $"; {Download(named)}")}.",
            "list" => "'list' is no command of kimi, which keeps no models of its own: --model takes the folder of one, wherever that is, and `kimi plan --help` names the releases that there are.",
            _ => null,
        };
    }

    private static void Refuse(SymbolResult result, string folder)
    {
        string name = result.Tokens is [var only] ? only.Value : "";
        if (name.Length == 0)
        {
            return;
        }

        if (name == KnownModels.Nano && !Path.Exists(name))
        {
            result.AddError($"'{name}' is no folder but the model that comes along, which runs where --model is left away.");
        }
        else if (KnownModels.RepositoryOf(name) is { } repository)
        {
            result.AddError($"'{name}' is no folder: {Download(repository)}, then give {folder}.");
        }
    }

    private static string Download(string repository) => $"models are not downloaded by kimi but by `hf download {repository} --local-dir DIR`";
}
