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
    private readonly Dictionary<string, Type> _types = new(StringComparer.OrdinalIgnoreCase);

    private ConfigurationKeys()
    {
    }

    public IEnumerable<string> Names => _types.Keys;

    /// <summary>The members of some options.</summary>
    /// <typeparam name="T">The options: numbers, texts, times, and lists of texts.</typeparam>
    /// <param name="others">Keys of texts that the section has besides.</param>
    public static ConfigurationKeys Of<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicProperties)] T>(params string[] others)
    {
        var keys = new ConfigurationKeys();
        foreach (string other in others)
        {
            keys._types.Add(other, typeof(string));
        }

        foreach (var property in typeof(T).GetProperties())
        {
            keys._types.Add(property.Name, Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType);
        }

        return keys;
    }

    /// <summary>Adds a key of a list of texts that the options do not have.</summary>
    /// <param name="name">The key.</param>
    public ConfigurationKeys WithList(string name)
    {
        _types.Add(name, typeof(IList<string>));
        return this;
    }

    /// <summary>Takes a key away that the section does not have, though the options do.</summary>
    /// <param name="name">The key.</param>
    public ConfigurationKeys Without(string name)
    {
        _types.Remove(name);
        return this;
    }

    /// <summary>What of a section nobody would read, or could; one sentence each, with the place of the key and what it may have been meant to be.</summary>
    /// <param name="section">The section; one that does not exist has no problems.</param>
    /// <param name="elsewhere">Whole paths of keys in other sections, of which one may have come into this one.</param>
    public IEnumerable<string> ProblemsOf(IConfigurationSection section, IReadOnlyCollection<string>? elsewhere = null)
    {
        if (section.Value is { } value)
        {
            // An empty list looks like an empty text.
            yield return $"The configuration has {(value.Length > 0 ? "a single value" : "an empty list or text")} at {section.Path}, which takes an object with the keys {string.Join(", ", Names)}.";
        }

        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (!_types.TryGetValue(child.Key, out Type? type))
            {
                yield return $"Unknown key '{child.Key}' in the configuration, at {child.Path}.{Hint(child, section.Path, elsewhere ?? [])}";
            }
            else if (!IsList(type) && child.GetChildren().Any())
            {
                yield return $"The configuration has an object or a list at {child.Path}, which takes a single value.";
            }
            else if (IsList(type) && !string.IsNullOrEmpty(child.Value))
            {
                yield return $"The configuration has a single value at {child.Path}, which takes a list.";
            }
        }

        foreach (string wrong in WrongValuesOf(section))
        {
            yield return wrong;
        }
    }

    /// <summary>Which values are not what their keys take; the binder would name types of .NET.</summary>
    /// <param name="configuration">A section, or a whole configuration, in which keys that are not known are somebody else's.</param>
    public IEnumerable<string> WrongValuesOf(IConfiguration configuration) =>
        from child in configuration.GetChildren()
        where !string.IsNullOrEmpty(child.Value) && _types.ContainsKey(child.Key)
        let expected = ConfigurationValue.ExpectedInPlaceOf(child.Value!, _types[child.Key])
        where expected is not null
        select $"The configuration has '{child.Value}' at {child.Path}, which takes {expected}.";

    private static bool IsList(Type type) => type != typeof(string) && !type.IsValueType;

    private string Hint(IConfigurationSection unknown, string section, IReadOnlyCollection<string> elsewhere)
    {
        string[] inside = [.. unknown.GetChildren().Select(c => c.Key).Where(_types.ContainsKey)];
        if (inside.Length > 0)
        {
            return $" {string.Join(", ", inside)} belong{(inside.Length == 1 ? "s" : "")} directly into {section}.";
        }

        string[] misplaced = [.. elsewhere.Where(p => SimilarNames.AreEqual(p[(p.LastIndexOf(':') + 1)..], unknown.Key))];
        string[] meant = misplaced.Length > 0 ? misplaced : [.. SimilarNames.Of(unknown.Key, Names)];
        return meant.Length > 0 ? $" Did you mean {string.Join(" or ", meant)}?" : $" Known keys: {string.Join(", ", Names)}.";
    }
}
