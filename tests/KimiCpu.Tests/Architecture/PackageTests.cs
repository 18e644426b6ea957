// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace KimiCpu.Tests.Architecture;

/// <summary>What the packages carry beside code.</summary>
[TestFixture]
internal sealed partial class PackageTests
{
    [Test]
    public void The_command_carries_the_notices_of_every_package_in_it()
    {
        // Where the command is built or published, the file lies beside it, and so it does here.
        string notices = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "THIRD-PARTY-NOTICES.txt"));
        string packages = Path.Combine(AppContext.BaseDirectory, "kimi.deps.json");
        Assume.That(packages, Does.Exist, "These tests are published with their runtime, and have the command without its list of packages.");
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(packages));
        IEnumerable<string> bundled = json.RootElement.GetProperty("targets").EnumerateObject().Single().Value.EnumerateObject()
            .Where(l => l.Value.TryGetProperty("runtime", out _) || l.Value.TryGetProperty("native", out _) || l.Value.TryGetProperty("runtimeTargets", out _))
            .Where(l => json.RootElement.GetProperty("libraries").GetProperty(l.Name).GetProperty("type").GetString() == "package")
            .Select(l => l.Name.Split('/')[0]);
        Assert.That(PackageLine().Matches(notices).Select(m => m.Groups[1].Value), Is.EquivalentTo(bundled));
        foreach (string licence in PackageLine().Matches(notices).Select(m => m.Groups[2].Value).Distinct())
        {
            Assert.That(notices, Does.Contain(licence switch { "MIT" => "Permission is hereby granted, free of charge", "Apache-2.0" => "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION", _ => $"the text of {licence}" }));
        }
    }

    /// <summary>The package has the documentation of these assemblies alone.</summary>
    [Test]
    public void Of_the_inner_assemblies_one_has_public_types()
    {
        string[] inner = ["KimiCpu.Checkpoints", "KimiCpu.Compute", "KimiCpu.Cpu", "KimiCpu.Cuda"];
        Assert.That(inner.Where(a => Assembly.Load(a).GetExportedTypes().Length > 0), Is.EqualTo(new[] { "KimiCpu.Checkpoints" }));
    }

    [GeneratedRegex(@"^(\S+) \(([\w.-]+)\)\r?$", RegexOptions.Multiline)]
    private static partial Regex PackageLine();
}
