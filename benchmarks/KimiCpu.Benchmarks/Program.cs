// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Running;
using KimiCpu.Benchmarks.Constraints;

if (args is ["masks"])
{
    MaskReport.Run();
    return;
}

BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
