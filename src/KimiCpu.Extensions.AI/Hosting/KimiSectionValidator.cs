// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Tells of a section that is not there and would have to say which model to open.</summary>
/// <param name="name">Of the options that the section describes.</param>
/// <param name="section">Described them.</param>
internal sealed class KimiSectionValidator(string name, IConfigurationSection section) : IValidateOptions<KimiOptions>
{
    ValidateOptionsResult IValidateOptions<KimiOptions>.Validate(string? which, KimiOptions options) =>
        which == name && !section.Exists() && options is { ModelPath: null, Embedded: false }
            ? ValidateOptionsResult.Fail($"Kimi: The configuration has no section '{section.Path}', which is to say where the model is.")
            : ValidateOptionsResult.Skip;
}
