// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>What is wrong with an argument of <see cref="IKimiModel"/>'s calls, wherever it is found out; under the name that the caller knows.</summary>
internal static class CallArgument
{
    public static ArgumentException Messages(string problem) => Wrong("messages", problem);

    public static ArgumentException Options(string problem) => Wrong("options", problem);

    public static ArgumentException Tokens(string problem) => Wrong("tokens", problem);

    private static ArgumentException Wrong(string parameter, string problem) => CallersMistake.Of(new ArgumentException(problem, parameter));
}
