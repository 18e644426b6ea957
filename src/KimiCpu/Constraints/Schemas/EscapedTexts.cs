// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Names and patterns as JSON writes them. Each is made once: all alternatives of an object have the same names.</summary>
internal sealed class EscapedTexts(CompileBudget budget)
{
    private const int WorkOfCharacter = 4;

    private readonly Dictionary<string, EscapedText> _known = new(StringComparer.Ordinal);

    public EscapedText Of(string text)
    {
        budget.Spend(CompileBudget.WorkOfLookup(text));
        if (!_known.TryGetValue(text, out EscapedText? escaped))
        {
            budget.Spend(WorkOfCharacter * (long)text.Length);
            string inside = JsonExpr.Escape(text);
            escaped = new EscapedText(inside, Encoding.UTF8.GetBytes(inside));
            _known.Add(text, escaped);
        }

        return escaped;
    }
}

/// <summary>The inside of a string.</summary>
/// <param name="Text">As characters.</param>
/// <param name="Bytes">As UTF-8.</param>
internal sealed record EscapedText(string Text, byte[] Bytes);
