// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints;

/// <summary>
/// Ids that tool calls may have: <c>functions.NAME:INDEX</c>. The automaton of the names, which may be large, is made once, before anything
/// runs: the ids of a later call are asked for between two steps, for which all running answers wait.
/// </summary>
internal sealed class CallIds
{
    private const string Before = "functions.";

    private readonly DfaRule _names;

    /// <param name="names">Of the tools, at least one.</param>
    /// <exception cref="KimiConstraintException">They are too long together, or no text.</exception>
    public CallIds(IEnumerable<string> names)
    {
        Grammar grammar = KimiConstraint.Choice(names).Grammar;
        _names = (DfaRule)grammar.Rules[grammar.Root];
    }

    public static string Of(string name, int index) => string.Create(CultureInfo.InvariantCulture, $"{Before}{name}{Behind(index)}");

    /// <summary>The ids with an index.</summary>
    public Grammar With(int index)
    {
        var grammar = new GrammarBuilder(new CompileBudget(CancellationToken.None));
        Expr names = Expr.Call(grammar.Add(_names));
        return grammar.Build(grammar.Add(Expr.Sequence(Expr.Text(Before), names, Expr.Text(Behind(index)))));
    }

    private static string Behind(int index) => string.Create(CultureInfo.InvariantCulture, $":{index}");
}
