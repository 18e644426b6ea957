// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>What a GPU would do wrong silently or die of: an access outside memory, a race, a divergent barrier, an unknown instruction.</summary>
internal sealed class PtxFault(string message) : Exception(message);
