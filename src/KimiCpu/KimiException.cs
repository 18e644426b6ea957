// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>An error of the model itself, such as a NaN in its logits.</summary>
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

/// <summary>A saved session cannot be loaded: it is damaged, of another model, or of another format.</summary>
public sealed class SessionFileException : KimiException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="file">The file at fault.</param>
    /// <param name="problem">What was expected, what was found, and what to do.</param>
    public SessionFileException(string file, string problem)
        : base($"'{file}': {problem}") => File = file;

    /// <summary>The file at fault.</summary>
    public string File { get; }
}

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

/// <summary>A request needs more tokens than the model's context or more bytes than the cache budget.</summary>
public sealed class ContextLengthException : KimiException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was needed, what there is, and what to do.</param>
    public ContextLengthException(string message)
        : base(message)
    {
    }

    /// <summary>Tokens that the prompt and its answer need at least: those of <see cref="Generation.GenerationOptions.MaxTokens"/>, or one where it is not set. Null where several calls together used up the cache.</summary>
    public int? NeededTokens { get; init; }

    /// <summary>Tokens that there are for one call. Null where several calls together used up the cache.</summary>
    public int? AvailableTokens { get; init; }
}
