// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>
/// More calls run and wait than <see cref="Generation.SchedulingOptions"/> allows, or this one has waited longer. The call
/// can be made again later.
/// </summary>
public sealed class KimiBusyException : KimiException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What is exceeded and what to do.</param>
    public KimiBusyException(string message)
        : base(message)
    {
    }

    /// <summary>When there will probably be room, guessed from how fast calls ended lately: whole seconds, 1 to 600.</summary>
    public TimeSpan RetryAfter { get; init; }
}
