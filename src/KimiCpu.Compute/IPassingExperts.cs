// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// Routed experts of a layer that the hot path's device computes without having them: their bytes are handed over by <see cref="IRoutedExperts"/>, which alone knows where these
/// are, as they come in. Called by the thread that runs the pass; the device takes them on another one.
/// </summary>
internal interface IPassingExperts
{
    /// <summary>Whether an expert of the layer is one of them.</summary>
    bool Passes(int expert);

    /// <summary>An expert is there. Its bytes stay as they are until <see cref="WaitUntilTaken"/> or <see cref="End"/> has returned.</summary>
    void HandOver(int expert, MlpWeights weights);

    /// <summary>Told how long nothing was computed, since experts had not come in yet.</summary>
    /// <param name="ticks">Of <see cref="System.Diagnostics.Stopwatch"/>.</param>
    void NoteWait(long ticks);

    /// <summary>Waits until all that were handed over have been taken. Where the device has failed nobody takes any more, and it returns: the device says so itself.</summary>
    void WaitUntilTaken();

    /// <summary>No more come, also after an exception. Once it has returned nobody reads what was handed over.</summary>
    void End();
}
