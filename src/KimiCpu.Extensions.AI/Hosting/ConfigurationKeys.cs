// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Configuration;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>
/// The keys that a section of a configuration may have. The binder skips whatever it does not know, so that a misspelled key would be
/// without effect and nobody would hear of it.
/// </summary>
internal sealed class ConfigurationKeys
{
    private readonly Dictionary<string, Kind> _kinds = new(StringComparer.OrdinalIgnoreCase);

    private ConfigurationKeys()
    {
    }

    private enum Kind
    {
        Single,
        Time,
        List,
    }

    public IEnumerable<string> Names => _kinds.Keys;

    /// <summary>The members of some options.</summary>
    /// <typeparam name="T">The options: numbers, texts, times, and lists of texts.</typeparam>
    /// <param name="others">Keys of single values that the section has besides.</param>
    public static ConfigurationKeys Of<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicProperties)] T>(params string[] others)
    {
        var keys = new ConfigurationKeys();
        foreach (string other in others)
        {
            keys._kinds.Add(other, Kind.Single);
        }

        foreach (var property in typeof(T).GetProperties())
        {
            keys._kinds.Add(property.Name, KindOf(property.PropertyType));
        }

        return keys;
    }

    /// <summary>What of a section nobody would read; one sentence each, with the place of the key and what it may have been meant to be.</summary>
    /// <param name="section">The section; one that does not exist has no problems.</param>
    /// <param name="elsewhere">Whole paths of keys in other sections, of which one may have come into this one.</param>
    public IEnumerable<string> ProblemsOf(IConfigurationSection section, IReadOnlyCollection<string>? elsewhere = null)
    {
        if (!string.IsNullOrEmpty(section.Value))
        {
            yield return $"The configuration has a single value at {section.Path}, which takes an object with the keys {string.Join(", ", Names)}.";
        }

        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (!_kinds.TryGetValue(child.Key, out Kind kind))
            {
                yield return $"Unknown key '{child.Key}' in the configuration, at {child.Path}.{Hint(child, section.Path, elsewhere ?? [])}";
            }
            else if (kind != Kind.List && child.GetChildren().Any())
            {
                yield return $"The configuration has an object or a list at {child.Path}, which takes a single value.";
            }
            else if (kind == Kind.List && !string.IsNullOrEmpty(child.Value))
            {
                yield return $"The configuration has a single value at {child.Path}, which takes a list.";
            }
            else if (kind == Kind.Time && child.Value is { Length: > 0 } time && !time.Contains(':', StringComparison.Ordinal))
            {
                // The binder would take a number for days.
                yield return $"The configuration has '{time}' at {child.Path}, which takes a time as hours, minutes and seconds, such as 00:00:15 or 00:00:00.5.";
            }
        }
    }

    private static Kind KindOf(Type type) =>
        (Nullable.GetUnderlyingType(type) ?? type) == typeof(TimeSpan) ? Kind.Time
        : type == typeof(string) || type.IsValueType ? Kind.Single
        : Kind.List;

    private string Hint(IConfigurationSection unknown, string section, IReadOnlyCollection<string> elsewhere)
    {
        string[] inside = [.. unknown.GetChildren().Select(c => c.Key).Where(_kinds.ContainsKey)];
        if (inside.Length > 0)
        {
            return $" {string.Join(", ", inside)} belong{(inside.Length == 1 ? "s" : "")} directly into {section}.";
        }

        string[] misplaced = [.. elsewhere.Where(p => SimilarNames.AreEqual(p[(p.LastIndexOf(':') + 1)..], unknown.Key))];
        string[] meant = misplaced.Length > 0 ? misplaced : [.. SimilarNames.Of(unknown.Key, Names)];
        return meant.Length > 0 ? $" Did you mean {string.Join(" or ", meant)}?" : $" Known keys: {string.Join(", ", Names)}.";
    }
}
