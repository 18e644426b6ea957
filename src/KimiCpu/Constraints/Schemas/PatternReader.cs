// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.RegularExpressions;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Reads texts by patterns, as they are and not as JSON writes them. States of the patterns are kept for the next text.</summary>
internal sealed class PatternReader(CompileBudget budget)
{
    /// <summary>Of the states of all patterns. One text may go beyond it by as much.</summary>
    private const long MaxCachedBytes = 64_000_000;

    /// <summary>For a byte, and for each way in which the text before it can be read: the state behind it may be a new one.</summary>
    private const int WorkOfReading = 128;

    private readonly Dictionary<string, Automaton> _automata = [];

    /// <summary>What is kept of states, roughly.</summary>
    public long CachedBytes { get; private set; }

    /// <summary>Whether a pattern is found in a text.</summary>
    /// <param name="schema">That has the pattern.</param>
    /// <param name="pattern">To search for.</param>
    /// <param name="text">To search.</param>
    /// <exception cref="KimiConstraintException">The pattern is malformed, uses what is not supported, or is too large, or reading the text takes too long.</exception>
    public bool Matches(SchemaElement schema, string pattern, string text)
    {
        Automaton automaton = AutomatonOf(schema, pattern);
        long before = automaton.CachedBytes;
        bool matches = Read(automaton, text);
        CachedBytes += automaton.CachedBytes - before;
        if (CachedBytes > MaxCachedBytes)
        {
            CachedBytes = 0;
            foreach (Automaton known in _automata.Values)
            {
                known.Trim(force: true);
            }
        }

        return matches;
    }

    private Automaton AutomatonOf(SchemaElement schema, string pattern)
    {
        budget.Spend(CompileBudget.WorkOfLookup(pattern));
        if (!_automata.TryGetValue(pattern, out Automaton? automaton))
        {
            try
            {
                // A grammar and no automaton alone, so that large repetitions cost no states.
                var grammar = new GrammarBuilder(budget);
                int root = grammar.Reserve();
                grammar.Define(root, new RegexCompiler(Utf8Expr.Of, budget, grammar).Search(pattern));
                automaton = new Automaton(grammar.Build(root));
            }
            catch (KimiConstraintException e)
            {
                throw schema.Error(e);
            }

            _automata.Add(pattern, automaton);
        }

        return automaton;
    }

    /// <summary>A long text may lead through any number of states, and in each of them it may be read in thousands of ways.</summary>
    private bool Read(Automaton automaton, string text)
    {
        AutomatonState state = automaton.Start;
        foreach (byte value in Encoding.UTF8.GetBytes(text))
        {
            budget.Spend(WorkOfReading * (1L + state.Frames.Length));
            if (automaton.Trim(force: false))
            {
                state = automaton.Adopt(state);
            }

            state = automaton.Step(state, value);
        }

        return state.Accepts;
    }
}
