// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.RegularExpressions;

namespace KimiCpu.Tests.Architecture;

/// <summary>Dependencies point one way: between projects by their references, inside KimiCpu by namespace.</summary>
[TestFixture]
internal sealed partial class DependencyTests
{
    private static readonly Dictionary<string, string[]> s_projects = new()
    {
        ["KimiCpu.Checkpoints"] = [],
        ["KimiCpu.Compute"] = [],
        ["KimiCpu.Nano"] = [],
        ["KimiCpu.Cpu"] = ["KimiCpu.Compute"],
        ["KimiCpu.Cuda"] = ["KimiCpu.Compute"],
        ["KimiCpu"] = ["KimiCpu.Checkpoints", "KimiCpu.Compute", "KimiCpu.Cpu", "KimiCpu.Cuda", "KimiCpu.Nano"],
        ["KimiCpu.Extensions.AI"] = ["KimiCpu"],
        ["KimiCpu.Server"] = ["KimiCpu", "KimiCpu.Extensions.AI"],
        ["kimi"] = ["KimiCpu", "KimiCpu.Checkpoints", "KimiCpu.Compute", "KimiCpu.Cpu", "KimiCpu.Cuda", "KimiCpu.Extensions.AI", "KimiCpu.Nano", "KimiCpu.Server"],
    };

    /// <summary>Which namespaces each one inside KimiCpu may use; exceptions and options of the root are everybody's.</summary>
    private static readonly Dictionary<string, string[]> s_namespaces = new()
    {
        ["Weights"] = ["Checkpoints", "Compute", "Cpu"],
        ["Model"] = ["Compute"],
        ["Planning"] = ["Checkpoints", "Compute", "Cpu", "Weights"],
        ["Tokens"] = ["Checkpoints"],
        ["Constraints"] = ["Tokens"],
        ["Chat"] = ["Checkpoints", "Tokens"],
        ["Generation"] = ["Chat", "Compute", "Constraints", "Cpu", "Model", "Tokens"],
        ["Sessions"] = ["Checkpoints", "Compute", "Generation", "Model"],
        ["Devices"] = ["Checkpoints", "Compute", "Cpu", "Cuda", "Generation", "Model", "Sessions", "Weights"],
    };

    [Test]
    public void Assemblies_reference_only_what_lies_below_them()
    {
        foreach ((string project, string[] allowed) in s_projects)
        {
            IEnumerable<string> references = System.Reflection.Assembly.Load(project).GetReferencedAssemblies()
                .Select(r => r.Name!).Where(s_projects.ContainsKey);
            Assert.That(references, Is.SubsetOf(allowed), project);
        }
    }

    [Test]
    public void Every_library_project_is_known_here()
    {
        IEnumerable<string> folders = Directory.GetDirectories(Path.Combine(Repository.Root, "src")).Select(d => Path.GetFileName(d)!);
        Assert.That(folders.Where(f => f.StartsWith("KimiCpu", StringComparison.Ordinal)), Is.EquivalentTo(s_projects.Keys.Select(p => p == "kimi" ? "KimiCpu.Cli" : p)));
    }

    [Test]
    public void Namespaces_inside_KimiCpu_use_only_what_lies_below_them()
    {
        string root = Path.Combine(Repository.Root, "src", "KimiCpu");
        int seen = 0;
        foreach ((string space, string[] allowed) in s_namespaces)
        {
            foreach (string file in Directory.GetFiles(Path.Combine(root, space), "*.cs", SearchOption.AllDirectories))
            {
                IEnumerable<string> used = UsedNamespace().Matches(File.ReadAllText(file)).Select(m => m.Groups[1].Value).Where(n => n != space).Distinct();
                Assert.That(used, Is.SubsetOf(allowed), file);
                seen++;
            }
        }

        Assert.That(Directory.GetDirectories(root).Select(Path.GetFileName).Except(["bin", "obj"]), Is.EquivalentTo(s_namespaces.Keys));
        Assert.That(seen, Is.GreaterThan(20));
    }

    [Test]
    public void Every_source_file_opens_with_the_licence()
    {
        string[] folders = ["src", "tests", "benchmarks", "samples"];
        foreach (string file in folders.SelectMany(f => Directory.GetFiles(Path.Combine(Repository.Root, f), "*.cs", SearchOption.AllDirectories)).Where(f => !f.Split(Path.DirectorySeparatorChar).Contains("obj")))
        {
            Assert.That(File.ReadLines(file).Take(2), Is.EqualTo(new[] { "// Copyright (c) KimiCpu contributors.", "// Licensed under the MIT License." }), file);
        }
    }

    [GeneratedRegex(@"(?:using |[^\w.])KimiCpu\.(\w+)(?:;|\.)")]
    private static partial Regex UsedNamespace();
}
