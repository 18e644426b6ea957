// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>A program that is started without a standard input (<c>&lt;&amp;-</c>): .NET's runtime then has a pipe of its own under that number, both ends of it, whose reader would wait for ever.</summary>
internal static class ClosedInput
{
    private const string Descriptors = "/proc/self/fd";
    private const string PipePrefix = "pipe:";
    private const int ModeOfAccess = 3;

    /// <summary>Whether what has the number of standard input is a pipe that this process can write to. False where the system does not say.</summary>
    public static bool IsRuntimesPipe()
    {
        if (!OperatingSystem.IsLinux())
        {
            return false;
        }

        try
        {
            return TargetOf($"{Descriptors}/0") is { } input && input.StartsWith(PipePrefix, StringComparison.Ordinal)
                && Directory.EnumerateFileSystemEntries(Descriptors).Any(entry => TargetOf(entry) == input && IsWritable(Path.GetFileName(entry)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return false;
        }
    }

    private static string? TargetOf(string descriptor) => new FileInfo(descriptor).LinkTarget;

    private static bool IsWritable(string descriptor)
    {
        const string Flags = "flags:";
        string info = $"/proc/self/fdinfo/{descriptor}";
        return File.Exists(info) && (Convert.ToInt64(File.ReadLines(info).First(l => l.StartsWith(Flags, StringComparison.Ordinal))[Flags.Length..].Trim(), 8) & ModeOfAccess) != 0;
    }
}
