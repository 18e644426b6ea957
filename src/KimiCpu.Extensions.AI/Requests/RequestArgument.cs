// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>What is wrong with an argument of a client's call, wherever it is found out; under the name that the caller knows.</summary>
internal static class RequestArgument
{
    public static ArgumentException Options(string problem, Exception? inner = null) => Wrong("options", problem, inner);

    public static ArgumentException Messages(string problem) => Wrong("messages", problem, inner: null);

    public static ArgumentOutOfRangeException OutOfRange(string option, object? found, string range) => new(option, found, $"{option} takes {range}; found {found}.");

    private static ArgumentException Wrong(string parameter, string problem, Exception? inner) => new(problem, parameter, inner);
}
