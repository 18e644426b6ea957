// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Samples;

/// <summary>What is typed or piped in, with all of its letters: the console's own reader knows those of its code page only.</summary>
internal static class ConsoleInput
{
    public static TextReader Open()
    {
        if (Console.IsInputRedirected)
        {
            return new StreamReader(Console.OpenStandardInput(), Encoding.UTF8);
        }

        if (!OperatingSystem.IsWindows())
        {
            return Console.In;
        }

        // What is typed has no byte order mark, and in UTF-16 its first characters may look like one of UTF-8.
        Console.InputEncoding = Encoding.Unicode;
        return new StreamReader(new TypedInput(Console.OpenStandardInput()), Encoding.Unicode, detectEncodingFromByteOrderMarks: false);
    }
}
