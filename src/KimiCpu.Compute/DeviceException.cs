// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>A device that a model runs on, or its driver, failed; the message says how and what to do.</summary>
internal class DeviceException(string message) : Exception(message);
