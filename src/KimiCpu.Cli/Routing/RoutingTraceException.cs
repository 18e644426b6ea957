// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>A file is no routing trace, or a damaged one.</summary>
/// <param name="file">The file at fault.</param>
/// <param name="problem">What was expected, what was found, and what to do.</param>
internal sealed class RoutingTraceException(string file, string problem) : IOException($"'{file}': {problem}");
