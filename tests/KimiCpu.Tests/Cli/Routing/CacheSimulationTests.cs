// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Xml.Linq;
using KimiCpu.Cli.Routing;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cli.Routing;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class CacheSimulationTests
{
    [Test]
    public void Hits_are_those_that_can_be_counted_by_hand()
    {
        var accesses = new TraceAccesses(Traces.Of(5, 0, 1, 0, 2, 0, 1, 2), 0);
        SimulationResult lru = CacheSimulation.Run(accesses, 2, "lru", lookAhead: false);
        Assert.That((lru.Accesses, lru.Hits, lru.Misses, lru.Tokens), Is.EqualTo((7L, 2L, 5L, 7)));
        Assert.That(lru.BytesPerToken, Is.EqualTo(5000.0 / 7));
        SimulationResult best = BeladyOptimum.Run(accesses, 2);
        Assert.That(best.Hits, Is.EqualTo(3), "0, 0 and one of 1 and 2.");
    }

    [Test]
    public void A_cyclic_scan_is_what_least_recently_used_fails_at()
    {
        var accesses = new TraceAccesses(Traces.Of(4, [.. Enumerable.Range(0, 400).Select(i => i % 4)]), 0);
        Assert.That(CacheSimulation.Run(accesses, 3, "lru", false).Hits, Is.Zero);
        Assert.That(BeladyOptimum.Run(accesses, 3).HitRate, Is.GreaterThan(0.6));
    }

    [Test]
    public void With_room_for_all_each_expert_is_read_once([Values("lru", "lfu", "hybrid", "wait")] string policy)
    {
        var accesses = new TraceAccesses(Traces.Synthetic(3, 16, 2, 200, 0.5), 0);
        Assert.That(CacheSimulation.Run(accesses, 48, policy, false).Misses, Is.EqualTo(48));
        Assert.That(BeladyOptimum.Run(accesses, 48).Misses, Is.EqualTo(48));
    }

    [Test]
    public void No_policy_beats_the_optimum_and_larger_caches_miss_less([Values(0, 0.7, 1.5)] double exponent)
    {
        var accesses = new TraceAccesses(Traces.Synthetic(4, 32, 4, 300, exponent), 0);
        foreach (string policy in EvictionPolicies.Names)
        {
            long last = 0;
            foreach (int slots in new[] { 1, 3, 8, 30, 64, 100 })
            {
                long hits = CacheSimulation.Run(accesses, slots, policy, false).Hits;
                Assert.That(hits, Is.LessThanOrEqualTo(BeladyOptimum.Run(accesses, slots).Hits), $"{policy}, {slots} slots");
                Assert.That(hits, Is.GreaterThanOrEqualTo(last), $"{policy}, {slots} slots");
                last = hits;
            }
        }
    }

    [Test]
    public void Optimum_is_what_trying_every_choice_finds([Range(1, 6)] int seed)
    {
        var random = new Random(seed);
        int[] uses = [.. Enumerable.Range(0, 14).Select(_ => random.Next(5))];
        Assert.That(BeladyOptimum.Run(new TraceAccesses(Traces.Of(5, uses), 0), 2).Hits, Is.EqualTo(Best(uses, [])));

        static int Best(ReadOnlySpan<int> uses, int[] held)
        {
            if (uses.IsEmpty)
            {
                return 0;
            }

            int use = uses[0];
            if (held.Contains(use))
            {
                return 1 + Best(uses[1..], held);
            }

            int best = Best(uses[1..], held);
            if (held.Length < 2)
            {
                return Math.Max(best, Best(uses[1..], [.. held, use]));
            }

            foreach (int gone in held)
            {
                best = Math.Max(best, Best(uses[1..], [.. held.Where(h => h != gone), use]));
            }

            return best;
        }
    }

    [Test]
    public void Right_predictions_turn_misses_into_foreseen_reads()
    {
        var accesses = new TraceAccesses(Traces.Synthetic(6, 64, 4, 200, 0.5, recall: 1), 0);
        Assert.That(accesses.Recall, Is.EqualTo(1));
        SimulationResult without = CacheSimulation.Run(accesses, 100, "lfu", false);
        SimulationResult with = CacheSimulation.Run(accesses, 100, "lfu", true);
        Assert.That(with.InVain, Is.Zero);
        Assert.That(with.Misses, Is.LessThan(without.Misses / 4), "Only the first layer is not foreseen.");
        Assert.That(with.Misses + with.Foreseen, Is.EqualTo(without.Misses).Within(5).Percent);
    }

    [Test]
    public void Wrong_predictions_cost_reads_and_nothing_else()
    {
        var accesses = new TraceAccesses(Traces.Synthetic(6, 64, 4, 200, 0.5, recall: 0), 0);
        Assert.That(accesses.Recall, Is.Zero);
        SimulationResult result = CacheSimulation.Run(accesses, 100, "lfu", true);
        Assert.That(result.Foreseen, Is.Zero);
        Assert.That(result.InVain, Is.Positive);
        Assert.That(result.Accesses, Is.EqualTo(6 * 4 * 200));
    }

    [Test]
    public void Caches_smaller_than_a_layer_work([Values(1, 2, 3)] int slots, [Values] bool lookAhead)
    {
        RoutingTraceHeader header = Traces.Header(2, 8, 4, predictions: true);
        var routing = new SyntheticRouting(header, 1, 0.5, 0.5, 3);
        var accesses = new TraceAccesses(new RoutingTrace(header, [.. Enumerable.Range(0, 50).Select(_ => routing.Next())]), 0);
        SimulationResult result = CacheSimulation.Run(accesses, slots, "wait", lookAhead);
        Assert.That(result.Accesses, Is.EqualTo(50 * 2 * 4));
        Assert.That(result.Misses, Is.InRange(1, result.Accesses));
    }

    [Test]
    public void Prompts_and_warm_up_are_not_counted()
    {
        RoutingTraceHeader header = Traces.Header(1, 8, 2);
        var trace = new RoutingTrace(header, [new RoutingStep(header, 3), new RoutingStep(header, 1), new RoutingStep(header, 1)]);
        Assert.That(new TraceAccesses(trace, 0).Tokens, Is.EqualTo(2));
        Assert.That(new TraceAccesses(trace, 2).Tokens, Is.EqualTo(1));
        Assert.That(() => new TraceAccesses(trace, 3), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("0 … 2"));
        Assert.That(new TraceAccesses(trace with { Steps = [trace.Steps[0]] }, 0).Tokens, Is.EqualTo(3), "A prompt alone is counted.");
    }

    [Test]
    public void Skew_is_found_again([Values(0, 0.5, 1)] double exponent)
    {
        var accesses = new TraceAccesses(Traces.Synthetic(2, 128, 1, 6000, exponent), 0);
        SkewFit fit = SkewFit.Of(accesses, 1)!;
        Assert.That(fit.Exponent, Is.EqualTo(exponent).Within(0.1));
        Assert.That(fit.Confidence, Is.InRange(0, 0.2));
    }

    [Test]
    public void A_trace_of_nothing_has_no_skew() => Assert.That(SkewFit.Of(new TraceAccesses(Traces.Of(3, 1), 0), 0), Is.Null);

    [Test]
    public void Synthetic_tokens_choose_different_experts_and_repeat_with_locality()
    {
        RoutingTrace trace = Traces.Synthetic(2, 64, 8, 300, 0, locality: 0.9);
        Assert.That(trace.Steps.Select(s => s.ExpertsOf(1).ToArray().Distinct().Count()), Has.All.EqualTo(8));
        double repeated = Enumerable.Range(1, 299).Average(i => trace.Steps[i].ExpertsOf(0).ToArray().Intersect(trace.Steps[i - 1].ExpertsOf(0).ToArray()).Count());
        Assert.That(repeated, Is.InRange(7.0, 7.6));
        RoutingTrace again = Traces.Synthetic(2, 64, 8, 300, 0, locality: 0.9);
        Assert.That(again.Steps[299].Experts.ToArray(), Is.EqualTo(trace.Steps[299].Experts.ToArray()));
        Assert.That(Traces.Synthetic(2, 64, 8, 300, 0, seed: 2, locality: 0.9).Steps[299].Experts.ToArray(), Is.Not.EqualTo(trace.Steps[299].Experts.ToArray()));
    }

    [Test]
    public void Chart_is_xml_with_a_line_for_each_policy()
    {
        var accesses = new TraceAccesses(Traces.Synthetic(2, 16, 2, 50, 1), 0);
        SimulationResult[] results = [.. new[] { 4, 8, 16 }.Select(s => CacheSimulation.Run(accesses, s, "lru", false)), BeladyOptimum.Run(accesses, 8)];
        var chart = XDocument.Parse(HitRateChart.Draw("a < b", results));
        Assert.That(chart.Descendants().Where(e => e.Name.LocalName == "polyline").Select(e => ((string)e.Attribute("points")!).Split(' ').Length), Is.EqualTo(new[] { 3, 1 }));
        Assert.That(chart.Descendants().Select(e => e.Value), Has.Member("a < b").And.Member("belady"));
    }
}
