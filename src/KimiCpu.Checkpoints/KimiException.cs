// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>
/// What the library's own exceptions have in common: an error of the model, its checkpoint, a session's file, the GPU or memory; too many calls, a prompt that does
/// not fit, a schema that cannot be enforced. Other wrong arguments are <see cref="ArgumentException"/>s as everywhere.
/// </summary>
public class KimiException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What happened and what to do.</param>
    /// <param name="innerException">The cause, if any.</param>
    public KimiException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }
}
