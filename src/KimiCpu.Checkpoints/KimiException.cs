// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>
/// What the library's own exceptions have in common: an error of the model itself, such as a NaN in its logits, or of its checkpoint. Wrong arguments are
/// <see cref="ArgumentException"/>s as everywhere.
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
