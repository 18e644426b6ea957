// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>
/// Tells which tools of a call go on without their schemas: each by itself where that is its schema's fault, but once for all that are too much for the
/// call, as that may be a hundred of them in each turn of an agent.
/// </summary>
/// <param name="warn">Told.</param>
internal sealed class ToolWarnings(Action<string> warn)
{
    /// <summary>Why, with the tools that it is so for; in order.</summary>
    private readonly List<(string Why, List<string> Tools)> _tooMuch = [];

    /// <param name="tool">Name of the tool.</param>
    /// <param name="why">Message of its refusal.</param>
    /// <param name="isTooMuch">Whether it was refused for what the call's other schemas had taken.</param>
    public void Tell(string tool, string why, bool isTooMuch)
    {
        if (!isTooMuch)
        {
            warn($"The parameters of the tool '{Excerpt.Of(tool)}' cannot be enforced, so its arguments may be any JSON object. {why}");
            return;
        }

        if (!_tooMuch.Exists(t => t.Why == why))
        {
            _tooMuch.Add((why, []));
        }

        _tooMuch.Find(t => t.Why == why).Tools.Add(tool);
    }

    /// <summary>No tool is left.</summary>
    public void End()
    {
        foreach ((string why, List<string> tools) in _tooMuch)
        {
            if (tools is [string only])
            {
                Tell(only, why, isTooMuch: false);
            }
            else
            {
                warn($"The parameters of the tool '{Excerpt.Of(tools[0])}' and of {tools.Count - 1} more behind it cannot be enforced, so their arguments may be any JSON object. {why}");
            }
        }
    }
}
