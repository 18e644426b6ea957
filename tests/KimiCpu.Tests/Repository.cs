// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests;

/// <summary>Where the files of the source tree are that tests read.</summary>
internal static class Repository
{
    /// <summary>The folder that holds KimiCpu.sln.</summary>
    public static string Root { get; } = FindRoot();

    public static string NanoModel => Path.Combine(Root, "models", "kimi-nano");

    public static string Fixture(params string[] parts) => Path.Combine([Root, "tests", "KimiCpu.Tests", "Fixtures", .. parts]);

    public static string Checkpoint(string name) => Fixture("checkpoints", "public", name);

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "KimiCpu.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"KimiCpu.sln is in no parent of {AppContext.BaseDirectory}.");
    }
}
