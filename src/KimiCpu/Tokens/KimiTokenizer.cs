// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tokens;

/// <summary>Placeholder for the contract; replaced by the implementation.</summary>
public sealed partial class KimiTokenizer
{
}
