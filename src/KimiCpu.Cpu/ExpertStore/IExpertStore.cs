// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// Hands out the weights of routed experts, wherever they lie. A layer's step goes: Begin, then wave by wave Request,
/// Receive until all of the wave are there, Release; then End, also after an exception. The bytes are the same whatever the
/// place, so results do not depend on it. Used by one thread at a time.
/// </summary>
internal interface IExpertStore : IDisposable
{
    /// <summary>Bytes that have come from drives; 0 where all experts are in memory.</summary>
    long DriveBytesRead { get; }

    /// <summary>Where experts were found; none are looked up where all are in memory. For the thread that uses the store, between two layers.</summary>
    ExpertLookups Lookups { get; }

    /// <summary>A layer begins that needs these experts; from here on they are counted by their place in the list.</summary>
    /// <param name="layer">An MoE layer.</param>
    /// <param name="experts">Rising ids.</param>
    void Begin(int layer, ReadOnlySpan<int> experts);

    /// <summary>The end of the wave that begins at a place: how many experts can be there at once is limited.</summary>
    int WaveEnd(int first);

    /// <summary>Starts reading what is missing of a wave, as far as there is room; the rest follows as room comes up.</summary>
    void Request(int first, int end);

    /// <summary>Waits until at least one more expert of the wave is there, and hands out all that are, the missing ones once each.</summary>
    /// <param name="first">First place of the wave.</param>
    /// <param name="end">Behind its last place.</param>
    /// <param name="ready">Filled with the places that are new.</param>
    /// <returns>How many they are; 0 when all of the wave have been handed out.</returns>
    /// <exception cref="Exception">Of <see cref="IWeightFiles.Failure"/>: an expert could not be read.</exception>
    int Receive(int first, int end, Span<int> ready);

    /// <summary>The weights of an expert that was handed out and not released.</summary>
    MlpWeights this[int place] { get; }

    /// <summary>A wave has been computed; its experts may give way.</summary>
    void Release(int first, int end);

    /// <summary>The layer is done, or failed.</summary>
    void End();

    /// <summary>These experts of a later layer are probably needed: reading may start, results never change.</summary>
    void Expect(int layer, ReadOnlySpan<int> experts);
}
