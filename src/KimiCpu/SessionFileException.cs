// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>A saved session cannot be loaded: it is damaged, of another model, or of another format.</summary>
public sealed class SessionFileException : KimiException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="file">The file at fault; <c>(stream)</c> for a stream.</param>
    /// <param name="problem">What was expected, what was found, and what to do.</param>
    public SessionFileException(string file, string problem)
        : base($"'{file}': {problem}") => File = file;

    /// <summary>The file at fault; <c>(stream)</c> where the session was loaded from a stream.</summary>
    public string File { get; }
}
