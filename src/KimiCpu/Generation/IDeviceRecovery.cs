// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>Decides how a model goes on when its device has failed. Called by the engine's thread, between steps.</summary>
internal interface IDeviceRecovery
{
    /// <param name="failure">Of a step, or of a copy of the cache's pages.</param>
    /// <param name="ofStep">Whether a step failed, or what a call needed for its next one; not where somebody looked at the cache beside the steps.</param>
    DeviceOutcome Recover(DeviceException failure, bool ofStep);
}

/// <summary>How a model goes on after its device has failed. Without a <paramref name="Next"/> that is no end, as before.</summary>
/// <param name="Error">For the callers whose calls end of it: what happened and what happens next.</param>
/// <param name="Next">What computes from here on, its cache empty; null where that does not change.</param>
/// <param name="IsEnd">Whether nothing can compute any more.</param>
internal sealed record DeviceOutcome(KimiException Error, ModelRunner? Next = null, bool IsEnd = false);
