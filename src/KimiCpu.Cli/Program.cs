// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

using var cancellation = new CancellationTokenSource();
Console.OutputEncoding = new System.Text.UTF8Encoding(false);
return await KimiCommand.RunAsync(args, CliStreams.OfConsole(), cancellation);
