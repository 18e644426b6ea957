// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using Microsoft.Extensions.Configuration;

namespace KimiCpu.Cli.Serve;

/// <summary>What the command line says: single values go over those of the environment and the file, and lists are added to theirs.</summary>
internal sealed class ServeSettings
{
    private readonly Dictionary<string, string?> _values = [];
    private readonly Dictionary<string, string[]> _lists = [];

    /// <param name="key">Its path in the configuration.</param>
    /// <param name="value">Null, or false, where the command line says nothing.</param>
    public void Set(string key, object? value)
    {
        if (value is not null and not false)
        {
            _values[key] = Convert.ToString(value, CultureInfo.InvariantCulture);
        }
    }

    /// <returns>The single value of a path; null where the command line says nothing.</returns>
    public string? ValueOf(string key) => _values.GetValueOrDefault(key);

    /// <param name="key">Its path in the configuration.</param>
    /// <param name="values">None where the command line says nothing.</param>
    public void Add(string key, string[]? values) => _lists[key] = values ?? [];

    /// <param name="configuration">Has everything else already.</param>
    public void AddTo(ConfigurationManager configuration)
    {
        var settings = new Dictionary<string, string?>(_values);
        foreach ((string key, string[] values) in _lists)
        {
            // A list is a key for each of its elements, and a second element 0 would take the place of the first.
            int next = configuration.GetSection(key).GetChildren().Select(c => int.TryParse(c.Key, NumberStyles.None, CultureInfo.InvariantCulture, out int index) ? index + 1 : 0).DefaultIfEmpty().Max();
            foreach ((int i, string value) in values.Index())
            {
                settings[string.Create(CultureInfo.InvariantCulture, $"{key}:{next + i}")] = value;
            }
        }

        configuration.AddInMemoryCollection(settings);
    }
}
