// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Tells where a configuration that does not say which model to open would say it: in a section that is not there, or in one that was not given.</summary>
/// <param name="name">Of the options that the configuration describes.</param>
/// <param name="configuration">Described them.</param>
internal sealed class KimiSectionValidator(string name, IConfiguration configuration) : IValidateOptions<KimiOptions>
{
    /// <summary>By convention.</summary>
    private const string Section = "Kimi";

    ValidateOptionsResult IValidateOptions<KimiOptions>.Validate(string? which, KimiOptions options) =>
        which != name || options is not { ModelPath: null, Embedded: false } ? ValidateOptionsResult.Skip
        : configuration is IConfigurationSection section
            ? section.Exists() ? ValidateOptionsResult.Skip : ValidateOptionsResult.Fail($"Kimi: The configuration has no section '{section.Path}', which is to say where the model is.")
        : configuration.GetSection(Section).Exists()
            ? ValidateOptionsResult.Fail($"Kimi: What was given is a whole configuration, of which the section '{Section}' is not read: give GetSection(\"{Section}\") of it.")
        : ValidateOptionsResult.Skip;
}
