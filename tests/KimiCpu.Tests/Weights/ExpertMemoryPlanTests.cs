// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

[TestFixture]
internal sealed class ExpertMemoryPlanTests
{
    private const long Gigabyte = 1_000_000_000;

    [Test]
    public void Experts_that_fit_stay_mapped()
    {
        ExpertMemoryPlan plan = ExpertMemoryPlan.Choose(new MemoryNeeds(571 * Gigabyte, 21 * Gigabyte, 18 * Gigabyte, 640 * Gigabyte, "Less context"), null);
        Assert.That(plan.SlotBytes, Is.Null);
        Assert.That(plan.Reason, Is.EqualTo("all 571.0 GB of experts fit; 640.0 GB of memory available, of which 21.0 GB for what every token needs, 18.0 GB for cache and activations, 8.6 GB left to the system"));
    }

    [Test]
    public void A_workstation_gives_slots_what_everything_else_leaves()
    {
        ExpertMemoryPlan plan = ExpertMemoryPlan.Choose(new MemoryNeeds(571 * Gigabyte, 21 * Gigabyte, 9 * Gigabyte, 250 * Gigabyte, "Less context"), null);
        Assert.That(plan.SlotBytes, Is.EqualTo((220 * Gigabyte) - (8L << 30)));
    }

    /// <summary>Where the system counts what it has promised, as Windows does, weights that are copied or go to a GPU leave less to promise.</summary>
    [Test]
    public void Slots_take_what_the_system_can_still_promise()
    {
        MemoryNeeds needs = new MemoryNeeds(571 * Gigabyte, 12 * Gigabyte, 9 * Gigabyte, 250 * Gigabyte, "Less context") { PromisedInVain = 23 * Gigabyte };
        ExpertMemoryPlan plan = ExpertMemoryPlan.Choose(needs, null);
        Assert.That(plan.SlotBytes, Is.EqualTo((206 * Gigabyte) - (8L << 30)));
        Assert.That(plan.Reason, Does.EndWith(", 23.0 GB promised by the system to weights that are read and let go"));
    }

    /// <summary>Linux that promises no more than it has promises half of the memory where nothing else is said; experts that are mapped need none of it.</summary>
    [TestCase(512, 60, true)]
    [TestCase(80, 60, true)]
    [TestCase(60, 60, false)]
    public void Mapped_experts_take_no_promise(long unpromised, long promised, bool mapped)
    {
        MemoryNeeds needs = new MemoryNeeds(571 * Gigabyte, 21 * Gigabyte, 30 * Gigabyte, unpromised * Gigabyte, "Less context") { Unused = 1000 * Gigabyte, Promised = promised * Gigabyte };
        ExpertMemoryPlan plan = ExpertMemoryPlan.Choose(needs, null);
        Assert.That(plan.SlotBytes is null, Is.EqualTo(mapped));
        Assert.That(plan.Reason, Does.Contain(mapped ? "all 571.0 GB of experts fit; 1000.0 GB of memory available" : "60.0 GB of memory available"));
        Assert.That(ExpertMemoryPlan.Choose(needs with { Unused = 600 * Gigabyte, Available = 100 * Gigabyte }, null).SlotBytes, Is.Not.Null, "they have to fit all the same");
    }

    [Test]
    public void What_the_user_asks_for_is_taken_even_where_all_would_fit()
    {
        ExpertMemoryPlan plan = ExpertMemoryPlan.Choose(new MemoryNeeds(10 * Gigabyte, Gigabyte, Gigabyte, 100 * Gigabyte, "Less context"), 3 * Gigabyte);
        Assert.That(plan.SlotBytes, Is.EqualTo(3 * Gigabyte));
    }

    [Test]
    public void A_model_whose_hot_path_does_not_fit_is_refused_with_numbers()
    {
        KimiException error = Assert.Throws<KimiException>(() => ExpertMemoryPlan.Choose(new MemoryNeeds(571 * Gigabyte, 21 * Gigabyte, 9 * Gigabyte, 24 * Gigabyte, "Less context"), null))!;
        Assert.That(error.Message, Does.Contain("24.0 GB of memory available").And.Contain("ExpertMemory").And.Contain("Less context helps"));
    }

    [TestCase(1L << 30, 128L << 20)]
    [TestCase(32L << 30, 2L << 30)]
    [TestCase(1L << 40, 8L << 30)]
    public void A_part_is_left_to_the_system(long available, long reserve) => Assert.That(ExpertMemoryPlan.ReserveOf(available), Is.EqualTo(reserve));
}
