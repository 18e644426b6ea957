// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Stops the binding of options to a configuration that says something else than they take.</summary>
internal static class CheckedSection
{
    /// <summary>Checks before everything that is configured later.</summary>
    /// <param name="options">To be bound next.</param>
    /// <param name="keys">What they take.</param>
    /// <param name="configuration">In a section all keys have to be known; in a whole configuration others are somebody else's.</param>
    /// <param name="subject">Whose options they are, in messages.</param>
    public static OptionsBuilder<T> Check<T>(this OptionsBuilder<T> options, ConfigurationKeys keys, IConfiguration configuration, string subject)
        where T : class => options.Configure(_ =>
    {
        string[] problems = [.. configuration is IConfigurationSection section ? keys.ProblemsOf(section) : keys.WrongValuesOf(configuration)];
        if (problems.Length > 0)
        {
            throw new OptionsValidationException(options.Name, typeof(T), problems.Select(p => $"{subject}: {p}"));
        }
    });
}
