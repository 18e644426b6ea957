// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;

namespace KimiCpu.Tests.Architecture;

/// <summary>
/// What the packages let others compile against is in a file of the repository, so that whoever looks through a change sees what it does to them: a member that is renamed or
/// a type that becomes public fails no other test.
/// </summary>
[TestFixture]
internal sealed class PublicSurfaceTests
{
    /// <summary>The libraries in the packages. Of the other ones in them, none has a public type (<see cref="PackageTests"/>), and the command is no library.</summary>
    private static readonly string[] s_assemblies = ["KimiCpu", "KimiCpu.Checkpoints", "KimiCpu.Extensions.AI", "KimiCpu.Nano", "KimiCpu.Server"];

    private static readonly string s_committed = Path.Combine(Repository.Root, "tests", "KimiCpu.Tests", "Architecture", "PublicSurface.txt");

    [Test]
    public void The_public_surface_of_the_packages_is_the_committed_one()
    {
        string[] found = [.. s_assemblies.SelectMany(a => PublicSurface.Of(Assembly.Load(a)))];
        string[] committed = File.ReadAllLines(s_committed);
        if (found.SequenceEqual(committed))
        {
            return;
        }

        string now = Path.Combine(AppContext.BaseDirectory, "PublicSurface.found.txt");
        File.WriteAllLines(now, found);
        Assert.Fail($"""
            What the packages let others compile against is no longer what {s_committed} says:
            {string.Join('\n', Whole(committed).Except(Whole(found)).Select(l => $"- {l}").Concat(Whole(found).Except(Whole(committed)).Select(l => $"+ {l}")).DefaultIfEmpty("(lines have changed places)"))}
            Where that is meant, commit the file as it is now, so that it is seen in review; a line that goes breaks programs that use it, so CHANGELOG.md has to say so:
            cp "{now}" "{s_committed}"
            """);
    }

    /// <summary>Each member with the type that it is of: several types have alike ones.</summary>
    private static IEnumerable<string> Whole(IEnumerable<string> lines)
    {
        string type = "";
        foreach (string line in lines)
        {
            bool isMember = line.StartsWith(' ');
            type = isMember ? type : line.Split(" : ")[0].Split(' ')[^1];
            yield return isMember ? $"{type}: {line.Trim()}" : line;
        }
    }
}
