// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>
/// Tells which tools of a call go on without their schemas: each by itself, but once for all that come when the call's steps are used up, as
/// that may be a hundred of them in each turn of an agent.
/// </summary>
/// <param name="warn">Told.</param>
internal sealed class ToolWarnings(Action<string> warn)
{
    private readonly List<string> _late = [];
    private string? _why;

    /// <param name="tool">Name of the tool.</param>
    /// <param name="why">Message of its refusal.</param>
    /// <param name="isLate">Whether the steps were used up before.</param>
    public void Tell(string tool, string why, bool isLate)
    {
        if (!isLate)
        {
            warn($"The parameters of the tool '{Excerpt.Of(tool)}' cannot be enforced, so its arguments may be any JSON object. {why}");
            return;
        }

        _late.Add(tool);
        _why = why;
    }

    /// <summary>No tool is left.</summary>
    public void End()
    {
        if (_late is [string only])
        {
            Tell(only, _why!, isLate: false);
        }
        else if (_late.Count > 1)
        {
            warn($"The parameters of the tool '{Excerpt.Of(_late[0])}' and of {_late.Count - 1} more behind it cannot be enforced, so their arguments may be any JSON object. {_why}");
        }
    }
}
