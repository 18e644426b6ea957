// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Refuses keys of a model's section that <see cref="KimiOptions"/> does not have.</summary>
/// <param name="name">Of the options that the section describes.</param>
/// <param name="section">All keys in it are the model's.</param>
internal sealed class KimiKeysValidator(string name, IConfigurationSection section) : IValidateOptions<KimiOptions>
{
    private static readonly ConfigurationKeys s_keys = ConfigurationKeys.Of<KimiOptions>();

    ValidateOptionsResult IValidateOptions<KimiOptions>.Validate(string? which, KimiOptions options)
    {
        if (which != name)
        {
            return ValidateOptionsResult.Skip;
        }

        List<string> problems = [.. s_keys.ProblemsOf(section)];
        if (!section.Exists() && options is { ModelPath: null, Embedded: false })
        {
            problems.Add($"The configuration has no section '{section.Path}', which is to say where the model is.");
        }

        return problems.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems.Select(p => $"Kimi: {p}"));
    }
}
