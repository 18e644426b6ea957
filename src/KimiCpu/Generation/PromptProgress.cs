// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>How far a prompt has been read.</summary>
/// <param name="Tokens">Of the prompt that are done, <paramref name="CachedTokens"/> … <paramref name="TotalTokens"/>; within a step in proportion to its layers.</param>
/// <param name="CachedTokens">Those of them that were in the cache before the call.</param>
/// <param name="TotalTokens">Of the prompt.</param>
public readonly record struct PromptProgress(int Tokens, int CachedTokens, int TotalTokens);
