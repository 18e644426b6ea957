// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore;

[TestFixture]
internal sealed class SlotTableTests
{
    private const int Layers = 4;
    private const int Experts = 24;

    [Test]
    public void Free_slots_go_first_then_the_lowest_priority()
    {
        SlotTable table = Make(2);
        Assert.That(Take(table, 5, resident: true).Evicted, Is.EqualTo(-1));
        Assert.That(Take(table, 30, resident: true).Evicted, Is.EqualTo(-1));
        table.Use(0, [5]);
        table.Use(1, [30]);
        table.Use(0, [5]);
        Assert.That(Take(table, 7, resident: true).Evicted, Is.EqualTo(30));
        Assert.That(table.Find(30), Is.EqualTo(-1));
        Assert.That(table.KeyOf(table.Find(7)), Is.EqualTo(7));
        Assert.That(Take(table, 31, resident: true).Evicted, Is.EqualTo(7), "It has never been used.");
    }

    [Test]
    public void Nothing_is_given_while_all_is_pinned_or_read()
    {
        SlotTable table = Make(2);
        (int reading, _) = Take(table, 0, resident: false);
        (int pinned, _) = Take(table, 1, resident: true);
        table.Pin(pinned);
        table.Pin(pinned);
        Assert.That(table.TryTake(2, out int slot, out int evicted), Is.False);
        Assert.That((slot, evicted, table.TakeableSlots), Is.EqualTo((-1, -1, 0)));

        table.Unpin(pinned);
        Assert.That(table.TryTake(2, out _, out _), Is.False, "It was pinned twice.");
        table.SetResident(reading);
        Assert.That(table.TryTake(2, out slot, out evicted));
        Assert.That((slot, evicted), Is.EqualTo((reading, 0)));
    }

    [Test]
    public void A_slot_pinned_while_it_is_read_stays_pinned_when_it_has_arrived()
    {
        SlotTable table = Make(1);
        (int slot, _) = Take(table, 3, resident: false);
        table.Pin(slot);
        table.SetResident(slot);
        Assert.That(table.TakeableSlots, Is.Zero);
        table.Unpin(slot);
        Assert.That(table.TakeableSlots, Is.EqualTo(1));
    }

    [Test]
    public void A_dropped_slot_is_free_again()
    {
        SlotTable table = Make(1);
        (int slot, _) = Take(table, 3, resident: false);
        table.Drop(slot);
        Assert.That((table.FreeSlots, table.Find(3), table.StateOf(slot)), Is.EqualTo((1, -1, SlotState.Free)));
        Assert.That(Take(table, 3, resident: true).Evicted, Is.EqualTo(-1));
    }

    [Test]
    public void What_makes_no_sense_is_refused()
    {
        SlotTable table = Make(2);
        (int slot, _) = Take(table, 3, resident: true);
        Assert.That(() => table.TryTake(3, out _, out _), Throws.InvalidOperationException);
        Assert.That(() => table.SetResident(slot), Throws.InvalidOperationException);
        Assert.That(() => table.Unpin(slot), Throws.InvalidOperationException);
        Assert.That(() => table.Pin(1 - slot), Throws.InvalidOperationException);
        Assert.That(() => table.Drop(1 - slot), Throws.InvalidOperationException);
        table.Pin(slot);
        Assert.That(() => table.Drop(slot), Throws.InvalidOperationException.With.Message.Contains("1 pins"));
    }

    [Test]
    public void Shrinking_retires_free_slots_then_the_worst_and_keeps_the_last()
    {
        SlotTable table = Make(4);
        (int used, _) = Take(table, 0, resident: true);
        (int worst, _) = Take(table, 1, resident: true);
        (int pinned, _) = Take(table, 2, resident: true);
        table.Use(0, [0]);
        table.Use(0, [2]);
        table.Pin(pinned);
        var retired = new int[2];
        Assert.That(table.Shrink(retired), Is.EqualTo(2));
        Assert.That(retired[1], Is.EqualTo(worst));
        Assert.That(table.Capacity, Is.EqualTo(2));
        Assert.That(table.Shrink(new int[5]), Is.EqualTo(1));
        Assert.That((table.Capacity, table.StateOf(used), table.Find(2)), Is.EqualTo((1, SlotState.Retired, pinned)));
        table.Unpin(pinned);
        Assert.That(table.Shrink(new int[1]), Is.Zero);
        Assert.That(Take(table, 9, resident: true), Is.EqualTo((pinned, 2)));
    }

    /// <summary>A long prompt's pass needs every expert of every layer once, so that all are used alike: what a layer's misses evict must not be what comes next.</summary>
    [Test]
    public void Passes_that_need_all_experts_hit_what_fits([Values("lfu", "hybrid", "wait", "lru")] string policy, [Values] bool preloaded)
    {
        const int slots = 48;
        int[][] layers = [.. Enumerable.Range(0, Layers).Select(l => Enumerable.Range(l * Experts, Experts).ToArray())];
        var table = new SlotTable(slots, Layers, Experts, EvictionPolicies.Make(policy, Layers, Experts));
        for (int i = 0; preloaded && i < slots; i++)
        {
            Take(table, (i % Layers * Experts) + (i / Layers), resident: true);
        }

        int first = Pass(table, layers);
        Assert.That(first, preloaded ? Is.GreaterThanOrEqualTo(slots - Experts) : Is.Zero);
        for (int pass = 1; pass < 5; pass++)
        {
            // A layer's experts hold their slots while it runs.
            Assert.That(Pass(table, layers), Is.GreaterThanOrEqualTo(slots - Experts), $"pass {pass}");
        }
    }

    /// <summary>What short passes have used most stays through a long prompt, in the layers that it comes to last as in the first.</summary>
    [Test]
    public void A_pass_that_needs_all_experts_puts_nothing_in_the_place_of_what_is_used_more()
    {
        const int layers = 20;
        const int slots = layers * Experts / 2;
        var random = new Random(1);
        int[][] all = [.. Enumerable.Range(0, layers).Select(l => Enumerable.Range(l * Experts, Experts).ToArray())];
        var table = new SlotTable(slots, layers, Experts, EvictionPolicies.Make(EvictionPolicies.Default, layers, Experts));
        int hits = 0;
        for (int round = 0; round < 20; round++)
        {
            for (int pass = 0; pass < 100; pass++)
            {
                Pass(table, [.. all.Select(keys => keys.OrderByDescending(k => random.NextDouble() / ((k % Experts) + 1)).Take(3).Order().ToArray())]);
            }

            hits += Pass(table, all);
        }

        Assert.That(hits / 20.0, Is.GreaterThan(slots * 0.9));
    }

    /// <summary>Any sequence of operations does what a list of entries, searched through, does.</summary>
    [Test]
    public void Random_operations_agree_with_a_plain_list([Values("lru", "lfu:3", "hybrid:30", "wait:5")] string policy, [Values(1, 7, 40)] int slots)
    {
        var random = new Random(slots);
        IEvictionPolicy priorities = EvictionPolicies.Make(policy, Layers, Experts);
        var table = new SlotTable(slots, Layers, Experts, priorities);
        var entries = new List<Entry>();
        int capacity = slots;
        int evictions = 0;
        for (int i = 0; i < 20_000; i++)
        {
            Entry? some = entries.Count > 0 ? entries[random.Next(entries.Count)] : null;
            switch (random.Next(8))
            {
                case 0:
                    table.BeginStep();
                    break;
                case 1 or 2:
                    int wanted = random.Next(Layers) * Experts + (int)(Experts * Math.Pow(random.NextDouble(), 3));
                    table.Use(wanted / Experts, [wanted]);
                    if (entries.Find(e => e.Key == wanted) is { } found)
                    {
                        Assert.That(table.Find(wanted), Is.EqualTo(found.Slot));
                        break;
                    }

                    Entry[] evictable = [.. entries.Where(e => e.Resident && e.Pins == 0)];
                    bool taken = table.TryTake(wanted, out int slot, out int evicted);
                    Assert.That(taken, Is.EqualTo(entries.Count < capacity || evictable.Length > 0));
                    if (taken && entries.Count == capacity)
                    {
                        Entry gone = evictable.Single(e => e.Key == evicted);
                        Assert.That(gone.Slot, Is.EqualTo(slot));
                        Assert.That(priorities.Priority(evicted), Is.EqualTo(evictable.Min(e => priorities.Priority(e.Key))));
                        entries.Remove(gone);
                        evictions++;
                    }
                    else
                    {
                        Assert.That(evicted, Is.EqualTo(-1));
                    }

                    if (taken)
                    {
                        Assert.That(entries.Select(e => e.Slot), Has.No.Member(slot));
                        entries.Add(new Entry { Key = wanted, Slot = slot });
                    }

                    break;
                case 3 or 4 when some is { Resident: false }:
                    table.SetResident(some.Slot);
                    some.Resident = true;
                    break;
                case 5 when some is not null && random.Next(3) == 0:
                    table.Pin(some.Slot);
                    some.Pins++;
                    break;
                case 6 when some is { Pins: > 0 }:
                    table.Unpin(some.Slot);
                    some.Pins--;
                    break;
                case 7 when some is { Pins: 0 } && random.Next(10) == 0:
                    table.Drop(some.Slot);
                    entries.Remove(some);
                    break;
            }

            if (i % 4000 == 3999)
            {
                int most = Math.Min(capacity - 1, capacity - entries.Count + entries.Count(e => e.Resident && e.Pins == 0));
                var retired = new int[2];
                int count = table.Shrink(retired);
                Assert.That(count, Is.EqualTo(Math.Min(2, most)));
                entries.RemoveAll(e => retired.AsSpan(0, count).Contains(e.Slot));
                capacity -= count;
            }

            Assert.That((table.Capacity, table.FreeSlots), Is.EqualTo((capacity, capacity - entries.Count)));
            Assert.That(table.TakeableSlots, Is.EqualTo(capacity - entries.Count(e => !e.Resident || e.Pins > 0)));
        }

        foreach (Entry entry in entries)
        {
            Assert.That((table.Find(entry.Key), table.KeyOf(entry.Slot), table.PinsOf(entry.Slot)), Is.EqualTo((entry.Slot, entry.Key, entry.Pins)));
        }

        Assert.That(evictions, Is.GreaterThan(100));
    }

    [TestCase("lru")]
    [TestCase("lfu")]
    [TestCase("hybrid")]
    [TestCase("wait")]
    public void Nothing_is_allocated_once_it_is_made(string policy)
    {
        var table = new SlotTable(1000, 60, 384, EvictionPolicies.Make(policy, 60, 384));
        Churn(table, 3000);

        // The runtime may allocate once while it compiles the methods better.
        Assert.That(Enumerable.Range(0, 5).Min(_ => Allocated(table)), Is.Zero);
    }

    /// <summary>A forward pass, its layers one after another; what a layer needs is held while it runs.</summary>
    /// <returns>How many experts were there.</returns>
    private static int Pass(SlotTable table, int[][] layers)
    {
        int hits = 0;
        table.BeginStep();
        for (int layer = 0; layer < layers.Length; layer++)
        {
            table.Use(layer, layers[layer]);
            int[] there = [.. layers[layer].Where(k => table.Find(k) >= 0)];
            hits += there.Length;
            foreach (int key in there)
            {
                table.Pin(table.Find(key));
            }

            foreach (int key in layers[layer].Except(there))
            {
                Assert.That(table.TryTake(key, out int slot, out _));
                table.SetResident(slot);
                table.Pin(slot);
            }

            foreach (int key in layers[layer])
            {
                table.Unpin(table.Find(key));
            }
        }

        return hits;
    }

    private static long Allocated(SlotTable table)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        Churn(table, 3000);
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }

    private static void Churn(SlotTable table, int count)
    {
        for (int i = 0; i < count; i++)
        {
            int key = (int)((uint)(i * 2654435761u) % (60 * 384));
            table.BeginStep();
            table.Use(key / 384, [key]);
            int slot = table.Find(key);
            if (slot < 0 && table.TryTake(key, out slot, out _))
            {
                table.SetResident(slot);
            }

            table.Pin(slot);
            table.Unpin(slot);
        }
    }

    private static SlotTable Make(int slots) => new(slots, Layers, Experts, EvictionPolicies.Make("lru", Layers, Experts));

    private static (int Slot, int Evicted) Take(SlotTable table, int key, bool resident)
    {
        Assert.That(table.TryTake(key, out int slot, out int evicted));
        Assert.That(table.StateOf(slot), Is.EqualTo(SlotState.Reading));
        if (resident)
        {
            table.SetResident(slot);
        }

        return (slot, evicted);
    }

    private sealed class Entry
    {
        public required int Key { get; init; }

        public required int Slot { get; init; }

        public bool Resident { get; set; }

        public int Pins { get; set; }
    }
}
