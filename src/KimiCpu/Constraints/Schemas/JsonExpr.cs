// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.RegularExpressions;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// How JSON is written under a constraint: compact, with at most one blank after a colon and after a comma. Where a string is
/// free, each character may be written in every way that JSON knows; where its text matters, in one: itself if it may
/// stand there, else its short escape, else <c>\u00xx</c> in lower case.
/// </summary>
internal static class JsonExpr
{
    private const string Hex = "0123456789abcdefABCDEF";

    private static readonly CodePointSet s_mustEscape = new([(0, 0x1F), ('"', '"'), ('\\', '\\')]);

    private static readonly (char Character, string Escape)[] s_shortEscapes = [('"', "\\\""), ('\\', "\\\\"), ('\b', "\\b"), ('\f', "\\f"), ('\n', "\\n"), ('\r', "\\r"), ('\t', "\\t")];

    public static Expr Quote { get; } = Expr.Text("\"");

    public static Expr Comma { get; } = Expr.Sequence(Expr.Text(","), Expr.Optional(Expr.Text(" ")));

    public static Expr Colon { get; } = Expr.Sequence(Expr.Text(":"), Expr.Optional(Expr.Text(" ")));

    /// <summary>One code point of a free string. A surrogate escape is always half of a pair, as readers demand.</summary>
    public static Expr FreeCharacter { get; } = Expr.Choice(
        Utf8Expr.Of(s_mustEscape.Complement()),
        Expr.Sequence(Expr.Text("\\"), Expr.Bytes("\"\\/bfnrt")),
        Expr.Sequence(Expr.Text("\\u"), Expr.Bytes("0123456789abcefABCEF"), Hexadecimal(3)),
        Expr.Sequence(Expr.Text("\\u"), Expr.Bytes("dD"), Expr.Bytes("01234567"), Hexadecimal(2)),
        Expr.Sequence(Expr.Text("\\u"), Expr.Bytes("dD"), Expr.Bytes("89abAB"), Hexadecimal(2), Expr.Text("\\u"), Expr.Bytes("dD"), Expr.Bytes("cdefCDEF"), Hexadecimal(2)));

    /// <summary>A character of ASCII that stands for itself.</summary>
    public static Expr PlainAscii { get; } = Expr.Bytes(string.Concat(Enumerable.Range(' ', '~' - ' ' + 1).Select(c => (char)c).Where(c => c is not ('"' or '\\'))));

    /// <summary>A character of a set in its one way.</summary>
    public static Expr Character(CodePointSet set)
    {
        var branches = new List<Expr> { Utf8Expr.Of(set.Except(s_mustEscape)) };
        branches.AddRange(s_shortEscapes.Where(e => set.Contains(e.Character)).Select(e => Expr.Text(e.Escape)));
        for (int value = 0; value < 0x20; value++)
        {
            if (set.Contains(value) && !Array.Exists(s_shortEscapes, e => e.Character == value))
            {
                branches.Add(Expr.Text(Escape(((char)value).ToString())));
            }
        }

        return Expr.Choice([.. branches]);
    }

    /// <summary>The inside of a string with a given text, in its one way.</summary>
    public static string Escape(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            if (c >= ' ' && c is not ('"' or '\\'))
            {
                result.Append(c);
                continue;
            }

            string? known = Array.Find(s_shortEscapes, e => e.Character == c).Escape;
            result.Append(known ?? $"\\u{(int)c:x4}");
        }

        return result.ToString();
    }

    /// <summary>A value as it is.</summary>
    public static Expr Value(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => Expr.Text($"\"{Escape(value.GetString()!)}\""),
        JsonValueKind.Array => Expr.Sequence(Expr.Text("["), Expr.Sequence([.. value.EnumerateArray().Select((v, i) => i == 0 ? Value(v) : Expr.Sequence(Comma, Value(v)))]), Expr.Text("]")),
        JsonValueKind.Object => Expr.Sequence(Expr.Text("{"), Expr.Sequence([.. value.EnumerateObject().Select((p, i) => i == 0 ? Property(p) : Expr.Sequence(Comma, Property(p)))]), Expr.Text("}")),
        _ => Expr.Text(value.GetRawText()),
    };

    /// <summary>How deep a value nests: 0 for what is no array and no object, 1 for those that hold neither.</summary>
    public static int Levels(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => 1 + value.EnumerateArray().Select(Levels).DefaultIfEmpty(0).Max(),
        JsonValueKind.Object => 1 + value.EnumerateObject().Select(p => Levels(p.Value)).DefaultIfEmpty(0).Max(),
        _ => 0,
    };

    private static Expr Property(JsonProperty property) => Expr.Sequence(Expr.Text($"\"{Escape(property.Name)}\""), Colon, Value(property.Value));

    private static Expr Hexadecimal(int digits) => Expr.Repeat(Expr.Bytes(Hex), digits, digits);
}
