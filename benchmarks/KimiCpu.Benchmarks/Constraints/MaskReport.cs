// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using System.Text;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Benchmarks.Constraints;

/// <summary>
/// What a constraint adds to decoding steps: for each one the time to find the mask of the state and to apply it to the
/// logits, over a given document and answers drawn at random; and what the first use costs. Everything is the fastest of
/// several runs with new constraints, so that what else runs on the machine counts less.
/// </summary>
internal static class MaskReport
{
    private const int MaxSteps = 400;
    private const int Runs = 7;

    private static readonly (string Name, Func<KimiConstraint> Make, string? Document)[] s_cases =
    [
        ("tool arguments", () => KimiConstraint.JsonSchema(ToolSchema), """{"query": "weather in Paris \"today\" 北京", "filters": [{"field": "region", "value": "europe"}, {"field": "days", "value": 12.5}], "limit": 10, "mode": null, "since": "2026-02-28"}"""),
        ("text of at most 2,000", () => KimiConstraint.JsonSchema("""{"type":"object","required":["text"],"properties":{"text":{"type":"string","maxLength":2000}}}"""), $$"""{"text": "{{string.Concat(Enumerable.Repeat("The quick brown fox jumps over the lazy dog. ", 40))}}"}"""),
        ("string with a pattern", () => KimiConstraint.JsonSchema("""{"type":"array","items":{"type":"string","pattern":"^[a-z]+( [a-z]+){0,9}$"},"maxItems":20}"""), """["the quick brown fox", "jumps over the lazy dog"]"""),
        ("name of at most 63", () => KimiConstraint.JsonSchema("""{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}}}"""), """{"name": "the-quick-brown-fox-jumps-over-the-lazy-dog"}"""),
        ("any JSON object", KimiConstraint.Json, """{"a": {"b": [1, 2, {"c": "text", "d": [true, false, null, "x", "y"]}], "e": -1.5e3}, "longer name": "some longer text with several words in it"}"""),
        ("recursive tree", () => KimiConstraint.JsonSchema("""{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}}}}"""), """{"name": "root", "children": [{"name": "first", "children": [{"name": "leaf"}]}, {"name": "second"}]}"""),
        ("regex .{0,500}", () => KimiConstraint.Regex(".{0,500}"), string.Concat(Enumerable.Repeat("The quick brown fox jumps. ", 15))),
        ("choice of 50", () => KimiConstraint.Choice(Enumerable.Range(0, 50).Select(i => $"answer number {i}")), "answer number 17"),
    ];

    private const string ToolSchema = """
        {"type":"object","additionalProperties":false,"required":["query","filters"],"properties":{
        "query":{"type":"string","minLength":1,"maxLength":200},
        "filters":{"type":"array","minItems":1,"items":{"type":"object","required":["field"],"properties":{"field":{"type":"string"},"value":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"null"}]},"tags":{"type":"array","items":{"type":"string"}}}}},
        "mode":{"type":["string","null"]},"limit":{"type":"integer","minimum":1,"maximum":100},"since":{"type":"string","format":"date"},"strict":{"type":"boolean"},"extra":{"type":"object","additionalProperties":{"type":"string"}}}}
        """;

    public static void Run()
    {
        (KimiTokenizer tokenizer, double meanBytes) = SyntheticVocabulary.Make();
        long start = Stopwatch.GetTimestamp();
        _ = TokenIndex.Of(tokenizer);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{tokenizer.VocabularySize:N0} tokens of {meanBytes:F1} bytes on average; arranging them took {Stopwatch.GetElapsedTime(start).TotalMilliseconds:F0} ms, once per tokenizer."));
        Console.WriteLine();
        Console.WriteLine("| constraint | compile, ms | first mask, ms | steps | p50, µs | p99, µs | max, µs | again: p50, µs | max, µs |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|");
        foreach ((string name, Func<KimiConstraint> make, string? document) in s_cases)
        {
            double compile = double.MaxValue;
            double first = double.MaxValue;
            double[] times = [];
            double[] again = [];
            for (int run = 0; run < Runs; run++)
            {
                start = Stopwatch.GetTimestamp();
                KimiConstraint constraint = make();
                compile = Math.Min(compile, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                times = Fastest(times, Measure(constraint, tokenizer, document, out double mask));
                first = Math.Min(first, mask);
                again = Fastest(again, Measure(constraint, tokenizer, document, out _));
            }

            Array.Sort(times);
            Array.Sort(again);
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"| {name} | {compile:F1} | {first:F2} | {times.Length} | {At(times, 0.5):F0} | {At(times, 0.99):F0} | {times[^1]:F0} | {At(again, 0.5):F0} | {again[^1]:F0} |"));
        }
    }

    private static double At(double[] sorted, double share) => sorted[(int)Math.Min(sorted.Length - 1, sorted.Length * share)];

    private static double[] Fastest(double[] known, double[] times) => known.Length == 0 ? times : [.. known.Zip(times, Math.Min)];

    /// <summary>Times of steps in microseconds: of the document, then of random answers.</summary>
    private static double[] Measure(KimiConstraint constraint, KimiTokenizer tokenizer, string? document, out double firstMilliseconds)
    {
        long start = Stopwatch.GetTimestamp();
        TokenAutomaton automaton = constraint.For(tokenizer);
        automaton.MaskOf(automaton.Start);
        firstMilliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        var random = new Random(7);
        var logits = new float[tokenizer.VocabularySize];
        var times = new List<double>();
        if (document is not null)
        {
            AutomatonState state = automaton.Start;
            foreach (int token in tokenizer.Encode(document))
            {
                TokenMask mask = Step(automaton, state, logits, times);
                if (!mask.Contains(token))
                {
                    throw new InvalidOperationException($"The token '{Encoding.UTF8.GetString(tokenizer.GetBytes(token))}' of '{document}' is not allowed.");
                }

                state = automaton.Read(state, tokenizer.GetBytes(token));
            }
        }

        for (int answer = 0; answer < 20 && times.Count < MaxSteps; answer++)
        {
            AutomatonState state = automaton.Start;
            while (state.Frames.Length > 0 && times.Count < MaxSteps && !(state.Accepts && random.Next(3) == 0))
            {
                TokenMask mask = Step(automaton, state, logits, times);
                int skip = random.Next(mask.Count);
                int token = Enumerable.Range(0, tokenizer.VocabularySize).Where(mask.Contains).ElementAt(skip);
                state = automaton.Read(state, tokenizer.GetBytes(token));
            }
        }

        return [.. times];
    }

    private static TokenMask Step(TokenAutomaton automaton, AutomatonState state, float[] logits, List<double> times)
    {
        // As after a forward pass: the logits have just been written.
        Array.Fill(logits, 1);
        long start = Stopwatch.GetTimestamp();
        TokenMask mask = automaton.MaskOf(state);
        mask.Apply(logits);
        times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
        return mask;
    }
}
