// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>A JSON Schema, regular expression or list of choices that cannot be a constraint: malformed, not supported, satisfied by no text, or too large.</summary>
public sealed class KimiConstraintException : KimiException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What is wrong where, and what to do.</param>
    /// <param name="innerException">The cause, if any.</param>
    public KimiConstraintException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }
}
