// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests;

/// <summary>All tests run with fresh memory full of NaNs, so that results that depend on what nobody wrote are none.</summary>
[SetUpFixture]
internal sealed class FreshMemorySetup
{
    [OneTimeSetUp]
    public void FillWithNaNs() => FreshMemory.HoldsNaNs = true;
}
