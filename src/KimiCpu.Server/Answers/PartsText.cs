// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Server.Answers;

/// <summary>A content in parts as one text. Texts follow one another as they are; what stands for a part that is no text has a line of its own.</summary>
internal sealed class PartsText
{
    private readonly StringBuilder _text = new();
    private bool _endsInLine;

    public void Add(string text)
    {
        if (text.Length > 0)
        {
            EndLine(isNeeded: _endsInLine);
            _text.Append(text);
            _endsInLine = false;
        }
    }

    public void AddLine(string line)
    {
        EndLine(isNeeded: true);
        _text.Append(line);
        _endsInLine = true;
    }

    public override string ToString() => _text.ToString();

    private void EndLine(bool isNeeded)
    {
        if (isNeeded && _text.Length > 0 && _text[^1] != '\n')
        {
            _text.Append('\n');
        }
    }
}
