// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Model;

/// <summary>What computes a model's steps: a forward pass over one device's hot path, and the cache in that device's memory.</summary>
/// <param name="Forward">Used by one thread at a time.</param>
/// <param name="Cache">Its pages.</param>
/// <param name="Arithmetic">How its values are rounded; what others have computed differently does not belong into the cache.</param>
/// <param name="PrefillChunk">Most prompt tokens of a step.</param>
internal sealed record ModelRunner(ForwardPass Forward, KvCache Cache, string Arithmetic, int PrefillChunk);
