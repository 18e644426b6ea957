// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.RegularExpressions;
using System.Text.Unicode;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// Lines that are typed at a terminal of Linux. The terminal itself edits them: it knows Ctrl-U, Ctrl-W and letters of several bytes, where .NET's console, which would switch that off,
/// takes the keys into the text and half an emoji away.
/// </summary>
internal static partial class TypedLine
{
    /// <summary>Bytes that the terminal keeps of a line, beside its end. Others are lost, and the last that is kept is the last that was typed.</summary>
    public const int Longest = 4095;

    /// <summary>Standard input past .NET's console.</summary>
    public static Stream OpenInput() => new FileStream(new SafeFileHandle(0, ownsHandle: false), FileAccess.Read, bufferSize: 0);

    /// <summary>The line without arrows and other keys that the terminal does not know: they come as control characters.</summary>
    public static string WithoutKeys(string line) => Key().Replace(line, "");

    /// <summary>The same of all lines of a text, which is left as it is where it is not UTF-8.</summary>
    public static byte[] WithoutKeys(byte[] text) =>
        Utf8.IsValid(text) ? Encoding.UTF8.GetBytes(string.Join('\n', Encoding.UTF8.GetString(text).Split('\n').Select(WithoutKeys))) : text;

    /// <summary>What stands behind Esc alone was typed as a letter.</summary>
    [GeneratedRegex(@"\e(?:\[[0-?]*[ -/]*[@-~]|O[A-DFHP-S])?|[\p{Cc}-[\t]]")]
    private static partial Regex Key();
}
