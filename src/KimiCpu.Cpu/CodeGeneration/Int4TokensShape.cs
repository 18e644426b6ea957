// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What a function of <see cref="Int4TokensCode"/> is written for.</summary>
/// <param name="Tokens">Of each tile.</param>
/// <param name="SeveralTiles">Whether several tiles share what is asked for ahead.</param>
internal readonly record struct Int4TokensShape(int Tokens, bool SeveralTiles);
