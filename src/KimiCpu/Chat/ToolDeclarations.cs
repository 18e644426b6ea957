// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>The text in which a conversation's tools are declared.</summary>
internal static class ToolDeclarations
{
    public static string Write(IReadOnlyList<KimiTool> tools, ChatFormat format)
    {
        if (format.TypeScriptTools && TypeScriptTools.TryWrite(tools, out string? text))
        {
            return text;
        }

        return $"[{string.Join(',', tools.Select(t => PythonJson.Write(t.Declaration, compact: true, sorted: format.SortsToolKeys)))}]";
    }
}
