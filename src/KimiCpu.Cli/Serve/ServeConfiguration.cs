// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Cli.Serve;

/// <summary>
/// What <c>kimi serve</c> is told: the command line goes over the environment, that over the file. Keys that nobody reads are refused, but
/// for single values of the environment outside the sections, which other programs may have named <c>KIMI_…</c> as well, unless they are
/// names of the sections' keys in all but the underscores.
/// </summary>
internal static class ServeConfiguration
{
    public const string Server = "Server";
    public const string Model = "Model";
    public const string Logging = "Logging";

    /// <summary>Of the section Server: names besides those of this machine that requests may name.</summary>
    public const string AllowedHosts = "AllowedHosts";

    private const string EnvironmentPrefix = "KIMI_";

    /// <summary>What editors look up to complete keys.</summary>
    private const string EditorSchema = "$schema";

    private const string LogLevels = "LogLevel";
    private const string ConsoleLogger = "Console";
    private const string ModelPath = "ModelPath";

    private static readonly string[] s_logging = [LogLevels, ConsoleLogger];

    private static readonly string[] s_sections = [Server, Model, Logging];

    private static readonly Dictionary<string, ConfigurationKeys> s_keys = new()
    {
        [Server] = ConfigurationKeys.Of<KimiServerOptions>("Host", "Port", "ApiKeyFile").WithList(AllowedHosts),

        // The program opens its model by itself, once it listens.
        [Model] = ConfigurationKeys.Of<KimiOptions>().Without(nameof(KimiOptions.OpenAtStart)),
    };

    /// <summary>Keys of the section Model of which one takes the other's place.</summary>
    private static readonly (string One, string Other)[] s_exclusive = [(ModelPath, nameof(KimiOptions.Embedded)), (nameof(KimiOptions.Exact), nameof(KimiOptions.Int8HotPath))];

    /// <param name="configuration">Gets everything.</param>
    /// <param name="file">JSON; null for none.</param>
    /// <param name="settings">Of the command line.</param>
    /// <param name="streams">Has standard input.</param>
    /// <exception cref="ArgumentException">The file cannot be read.</exception>
    /// <exception cref="ServeConfigurationException">The file is no JSON, or something is said that nobody would read.</exception>
    /// <returns>Where else than at the command line something was said; null for nowhere.</returns>
    public static string? Read(ConfigurationManager configuration, string? file, ServeSettings settings, CliStreams streams)
    {
        List<string> problems = [];
        if (file is not null)
        {
            byte[] json = InputFile.ReadBytes("--config", file, streams);
            problems.AddRange(Read(json, file).GetChildren().Where(c => c.Key != EditorSchema && !IsSection(c.Key)).Select(Unknown));
            configuration.AddJsonStream(new MemoryStream(json));
        }

        configuration.AddEnvironmentVariables(EnvironmentPrefix);
        if (problems.Count == 0)
        {
            problems.AddRange(ProblemsOfUnderscores(configuration));

            // A name of several parts is one of a section, and is nobody else's if it is nearly that of one here.
            problems.AddRange(configuration.GetChildren().Where(c => !IsSection(c.Key) && c.GetChildren().Any() && SimilarNames.Of(c.Key, s_sections).Any()).Select(Unknown));
        }

        foreach ((string name, ConfigurationKeys keys) in s_keys)
        {
            problems.AddRange(keys.ProblemsOf(configuration.GetSection(name), PathsOutside(name)));
        }

        problems.AddRange(ProblemsOfLogging(configuration.GetSection(Logging)));

        if (problems.Count > 0)
        {
            throw new ServeConfigurationException(string.Join(Environment.NewLine, problems));
        }

        string? source = file is not null ? $"'{file}'" : s_sections.Any(k => configuration.GetSection(k).Exists()) ? "the environment" : null;
        IConfigurationRoot environment = new ConfigurationBuilder().AddEnvironmentVariables(EnvironmentPrefix).Build();
        TakePlaces(configuration, key => environment[key]);
        settings.AddTo(configuration);
        TakePlaces(configuration, settings.ValueOf);
        return source;
    }

    /// <summary>What a later source says takes the place of what earlier ones say at the key that excludes it: they are not contradicted, but gone over.</summary>
    private static void TakePlaces(ConfigurationManager configuration, Func<string, string?> later)
    {
        foreach ((string one, string other) in s_exclusive.Concat(s_exclusive.Select(k => (k.Other, k.One))))
        {
            if (later($"{Model}:{one}") is { Length: > 0 } value && !value.Equals("false", StringComparison.OrdinalIgnoreCase) && later($"{Model}:{other}") is null)
            {
                configuration.AddInMemoryCollection([new($"{Model}:{other}", other == ModelPath ? null : "false")]);
            }
        }
    }

    /// <summary>Of the environment: nearly every other program takes one underscore between the parts of a name, and without a word another model would be served, or without keys.</summary>
    private static IEnumerable<string> ProblemsOfUnderscores(ConfigurationManager configuration) =>
        from single in configuration.GetChildren()
        where single.Value is { } value && !IsSection(single.Key) && !IsServiceOfKubernetes(value)
        let number = ElementOf(single.Key)
        let path = PathsOutside("").Append($"{Logging}:{LogLevels}:Default").FirstOrDefault(p => SimilarNames.AreEqual(p, single.Key[..^number.Length]))
        where path is not null
        select $"{EnvironmentPrefix}{single.Key} of the environment is not read: two underscores stand between the parts of a name. Did you mean {EnvironmentPrefix}{path.Replace(":", "__", StringComparison.Ordinal).ToUpperInvariant()}{(number.Length > 0 ? "_" : "")}{number}?";

    /// <summary>A container is told the address of each service beside it, which of one called kimi-server is KIMI_SERVER_PORT=tcp://10.0.0.7:80.</summary>
    private static bool IsServiceOfKubernetes(string value) => value.StartsWith("tcp://", StringComparison.Ordinal) || value.StartsWith("udp://", StringComparison.Ordinal);

    /// <summary>The end of a name that is one of a list's elements, as _0; empty where it is none.</summary>
    private static string ElementOf(string key)
    {
        string name = key.TrimEnd([.. "0123456789"]);
        return name.Length < key.Length && name.EndsWith('_') ? key[(name.Length - 1)..] : "";
    }

    private static IEnumerable<string> ProblemsOfLogging(IConfigurationSection logging)
    {
        IConfigurationSection console = logging.GetSection(ConsoleLogger);
        foreach (IConfigurationSection section in new[] { logging, logging.GetSection(LogLevels), console, console.GetSection(LogLevels) })
        {
            if (section.Value is { } value)
            {
                yield return $"The configuration has {(value.Length > 0 ? $"'{value}'" : "an empty list or text")} at {section.Path}, which takes an object.";
            }
        }

        foreach (IConfigurationSection unknown in logging.GetChildren().Where(c => !s_logging.Contains(c.Key, StringComparer.OrdinalIgnoreCase)))
        {
            yield return $"Unknown key '{unknown.Key}' in the configuration, at {unknown.Path}. Known keys: {string.Join(", ", s_logging)}.";
        }

        foreach (IConfigurationSection level in new[] { logging, console }.SelectMany(s => s.GetSection(LogLevels).GetChildren()))
        {
            if (level.Value is { } value && !Enum.TryParse(value, ignoreCase: true, out LogLevel _))
            {
                yield return $"The configuration has '{value}' at {level.Path}, which takes {string.Join(", ", Enum.GetNames<LogLevel>())}.";
            }
        }
    }

    /// <summary>The file alone; the host has keys of its own.</summary>
    private static IConfigurationRoot Read(byte[] json, string file)
    {
        try
        {
            return new ConfigurationBuilder().AddJsonStream(new MemoryStream(json)).Build();
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            throw new ServeConfigurationException($"'{file}' is no valid configuration: {e.Message}", e);
        }
    }

    private static bool IsSection(string key) => s_sections.Contains(key, StringComparer.OrdinalIgnoreCase);

    private static string Unknown(IConfigurationSection top)
    {
        string[] misplaced = [.. PathsOutside("").Where(p => SimilarNames.AreEqual(p[(p.LastIndexOf(':') + 1)..], top.Key))];
        string[] meant = misplaced.Length > 0 ? misplaced : [.. SimilarNames.Of(top.Key, s_sections)];
        string known = $"The sections are {string.Join(", ", s_sections)}.";
        return $"Unknown key '{top.Key}' in the configuration, at {top.Path}. {(meant.Length > 0 ? $"Did you mean {string.Join(" or ", meant)}? " : "")}{known}";
    }

    private static string[] PathsOutside(string section) => [.. s_keys.Where(s => s.Key != section).SelectMany(s => s.Value.Names.Select(n => $"{s.Key}:{n}"))];
}
