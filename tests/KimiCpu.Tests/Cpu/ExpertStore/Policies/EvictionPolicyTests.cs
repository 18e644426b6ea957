// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore.Policies;

[TestFixture]
internal sealed class EvictionPolicyTests
{
    private const int Layers = 3;
    private const int Experts = 8;

    [Test]
    public void Every_name_makes_its_policy()
    {
        foreach (string name in EvictionPolicies.Names)
        {
            Assert.That(EvictionPolicies.Make(name, Layers, Experts).Name, Is.EqualTo(name));
            Assert.That(EvictionPolicies.Make($"{name}:12.5", Layers, Experts).Name, Is.EqualTo(name));
        }

        Assert.That(EvictionPolicies.Names, Has.Member(EvictionPolicies.Default));
    }

    [TestCase("")]
    [TestCase("fifo")]
    [TestCase("lfu:")]
    [TestCase("lfu:0")]
    [TestCase("lfu:-1")]
    [TestCase("lfu:NaN")]
    [TestCase("lfu:1:2")]
    public void Other_names_are_refused(string text) =>
        Assert.That(() => EvictionPolicies.Make(text, Layers, Experts), Throws.TypeOf<FormatException>().With.Message.Contains("lru, lfu"));

    [Test]
    public void Least_recently_used_forgets_frequency()
    {
        IEvictionPolicy policy = Used("lru", [1, 1, 1, 2]);
        Assert.That(policy.Priority(1), Is.LessThan(policy.Priority(2)).And.GreaterThan(policy.Priority(3)));
    }

    [Test]
    public void Least_frequently_used_remembers_as_long_as_its_half_life()
    {
        AssertPrefers(Used("lfu:1000", [1, 1, 1, 2]), 1, 2);
        AssertPrefers(Used("lfu:1000", [1, 1, 1, 2]), 2, 3);
        AssertPrefers(Used("lfu:0.5", [1, 1, 1, 2]), 2, 1);
    }

    [Test]
    public void The_hybrid_lets_go_of_what_was_popular_once()
    {
        AssertPrefers(Used("hybrid:1000000", [1, 1, 1, 1, 1, 1, 1, 1, 2, 2]), 1, 2);
        AssertPrefers(Used("hybrid:1000000", [1, 1, 1, 1, 1, 1, 1, 1, .. Enumerable.Repeat(0, 200), 2, 2]), 2, 1);
        AssertPrefers(Used("lfu:1000000", [1, 1, 1, 1, 1, 1, 1, 1, .. Enumerable.Repeat(0, 200), 2, 2]), 1, 2);
    }

    [Test]
    public void Expected_wait_prefers_layers_that_come_soon()
    {
        IEvictionPolicy policy = Used("wait:100", [Experts, 0, (2 * Experts) + 1, Experts + 1]);
        AssertPrefers(policy, (2 * Experts) + 1, 0, "Layer 1 runs: layer 2 comes before layer 0.");
        AssertPrefers(policy, 0, Experts + 1, "The running layer comes last.");
        policy.BeginLayer(2);
        policy.Use((2 * Experts) + 2);
        AssertPrefers(policy, 0, (2 * Experts) + 1, "Layer 2 runs.");

        policy = Used("wait:100", [0, 0, 0, 0, Experts + 1, (2 * Experts) + 1, 0]);
        AssertPrefers(policy, 0, (2 * Experts) + 1, "Frequency weighs more than one step.");
    }

    /// <summary>Every step uses one expert.</summary>
    private static IEvictionPolicy Used(string name, int[] keys)
    {
        IEvictionPolicy policy = EvictionPolicies.Make(name, Layers, Experts);
        foreach (int key in keys)
        {
            policy.BeginStep();
            policy.BeginLayer(key / Experts);
            policy.Use(key);
        }

        return policy;
    }

    private static void AssertPrefers(IEvictionPolicy policy, int kept, int evicted, string why = "") =>
        Assert.That(policy.Priority(kept), Is.GreaterThan(policy.Priority(evicted)), why);
}
