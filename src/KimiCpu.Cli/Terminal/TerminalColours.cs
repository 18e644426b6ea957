// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cli.Terminal;

/// <summary>Whether the terminal of the output, or that of the errors, shows what the codes of colours ask for, or the codes.</summary>
internal static partial class TerminalColours
{
    private const int StandardOutput = -11;
    private const int StandardError = -12;
    private const uint UnderstandsCodes = 4;

    /// <summary>Whether they are shown, and welcome (https://no-color.org). In the console of Windows they are switched on.</summary>
    public static bool AreShown() => AreShown(StandardOutput);

    /// <inheritdoc cref="AreShown()"/>
    public static bool AreShownInErrors() => AreShown(StandardError);

    /// <param name="noColor">NO_COLOR of the environment.</param>
    /// <param name="term">TERM of the environment.</param>
    /// <param name="console">Switches them on in the console of Windows, where TERM says nothing; null elsewhere.</param>
    internal static bool AreShown(string? noColor, string? term, Func<bool>? console) =>
        string.IsNullOrEmpty(noColor) && (console is not null ? console() : term is not (null or "" or "dumb"));

    private static bool AreShown(int stream) => AreShown(
        Environment.GetEnvironmentVariable("NO_COLOR"),
        Environment.GetEnvironmentVariable("TERM"),
        OperatingSystem.IsWindows() ? () => TrySwitchOn(stream) : null);

    private static bool TrySwitchOn(int stream)
    {
        nint output = GetStandardHandle(stream);
        return GetMode(output, out uint mode) && SetMode(output, mode | UnderstandsCodes);
    }

    [LibraryImport("kernel32", EntryPoint = "GetStdHandle")]
    private static partial nint GetStandardHandle(int which);

    [LibraryImport("kernel32", EntryPoint = "GetConsoleMode")]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool GetMode(nint console, out uint mode);

    [LibraryImport("kernel32", EntryPoint = "SetConsoleMode")]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool SetMode(nint console, uint mode);
}
