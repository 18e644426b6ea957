// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>
/// Tells what the library throws since it was asked for what cannot be from what .NET throws of the same types where the library's own code is wrong. Who calls it for others
/// has to tell them of the one, and his log of the other. An exception does not say by itself where it is from: in programs that were compiled ahead of time nothing is known of that.
/// </summary>
internal static class CallersMistake
{
    private const string Mark = "KimiCpu.CallersMistake";

    /// <summary>Marks an exception that is thrown for what the caller has asked.</summary>
    /// <param name="exception">Its type is public, so that callers need not know of the mark.</param>
    /// <returns>The same exception.</returns>
    public static T Of<T>(T exception)
        where T : Exception
    {
        exception.Data[Mark] = true;
        return exception;
    }

    /// <summary>Whether an exception was marked.</summary>
    /// <param name="exception">Any.</param>
    public static bool Is(Exception exception) => exception.Data.Contains(Mark);
}
