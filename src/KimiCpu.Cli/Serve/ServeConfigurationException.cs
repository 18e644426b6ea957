// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Serve;

/// <summary>A mistake in what the file or the environment says; its message names keys as they are written there, and not as options of the command line.</summary>
internal sealed class ServeConfigurationException(string message, Exception? inner = null) : Exception(message, inner);
