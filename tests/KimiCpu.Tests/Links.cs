// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests;

/// <summary>Links that tests need; on Windows to make one takes a right.</summary>
internal static class Links
{
    /// <summary>Makes a link to a file or folder, or skips the test where this user may make none.</summary>
    public static void Create(string path, string target)
    {
        try
        {
            File.CreateSymbolicLink(path, target);
        }
        catch (Exception e) when (OperatingSystem.IsWindows() && e is IOException or UnauthorizedAccessException)
        {
            Assert.Ignore($"This user may not make links: {e.Message}");
        }

        if (OperatingSystem.IsWindows() && new FileInfo(path).LinkTarget is null)
        {
            Assert.Ignore("The link that was made leads nowhere: this is not quite Windows.");
        }
    }
}
