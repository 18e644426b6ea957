// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Server.Node;

/// <summary>The packages of <c>package-lock.json</c>, installed beside the scripts in the tests' output folder; once, until the file changes.</summary>
internal static class NodePackages
{
    /// <summary>How npm names a registry that cannot be reached; whatever else goes wrong is a failure.</summary>
    private static readonly string[] s_unreachable =
        ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "ERR_SOCKET_TIMEOUT", "E403", "E407", "E502", "E503", "E504"];

    private static readonly Lazy<Task<string?>> s_missing = new(InstallAsync);

    /// <summary>Where the scripts and their packages are.</summary>
    public static string Folder { get; } = Path.Combine(TestContext.CurrentContext.TestDirectory, "node");

    /// <summary>Skips the test where there is no Node or no registry.</summary>
    /// <returns>The path of <c>node</c>.</returns>
    public static async Task<string> RequireAsync()
    {
        if (await s_missing.Value is { } missing)
        {
            Assert.Ignore(missing);
        }

        return NodeProcess.Find("node")!;
    }

    /// <returns>What is missing and what to do; null where the packages are there.</returns>
    private static async Task<string?> InstallAsync()
    {
        if (NodeProcess.Find("node") is not { } node || NodeProcess.Find("npm") is not { } npm)
        {
            return "Needs Node 20 or later with npm: install them (https://nodejs.org), so that the clients for JavaScript are tested.";
        }

        (_, string version, _) = await NodeProcess.RunAsync(node, Folder, TimeSpan.FromMinutes(1), "--version");
        if (!int.TryParse(version.TrimStart('v').Split('.')[0], out int major) || major < 20)
        {
            return $"Needs Node 20 or later; found {version.Trim()} at {node}.";
        }

        string installed = Path.Combine(Folder, "installed-lock.json");
        string wanted = await File.ReadAllTextAsync(Path.Combine(Folder, "package-lock.json"));
        if (File.Exists(installed) && await File.ReadAllTextAsync(installed) == wanted)
        {
            return null;
        }

        string[] arguments = ["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000"];
        (int? exitCode, string output, string error) = await NodeProcess.RunAsync(npm, Folder, TimeSpan.FromMinutes(10), arguments);
        if (exitCode is null || (exitCode != 0 && s_unreachable.Any(error.Contains)))
        {
            return $"Needs the npm registry, which 'npm ci' did not reach: run the tests with a network once, or set npm's 'registry' to one that can be reached.\n{error}";
        }

        Assert.That(exitCode, Is.Zero, $"npm ci in {Folder}:\n{output}\n{error}");
        await File.WriteAllTextAsync(installed, wanted);
        return null;
    }
}
