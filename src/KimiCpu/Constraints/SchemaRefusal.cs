// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>Why a schema cannot be a constraint.</summary>
/// <param name="message">Of the exception.</param>
/// <param name="work">Steps that it took to find that out.</param>
/// <param name="isFinal">False where it ended for what others of its call had taken: then it is known only that it takes this many steps.</param>
internal sealed class SchemaRefusal(string message, long work, bool isFinal)
{
    private int _told;

    public string Message => message;

    public long Work => work;

    public bool IsFinal => isFinal;

    /// <summary>Whether nobody has asked before.</summary>
    public bool IsNews() => Interlocked.Exchange(ref _told, 1) == 0;
}
