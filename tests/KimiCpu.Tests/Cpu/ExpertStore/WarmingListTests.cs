// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore;

/// <summary>What is warmed again after a failure, and when.</summary>
[TestFixture]
internal sealed class WarmingListTests
{
    [Test]
    public void Reads_that_fail_together_are_one_failure()
    {
        var list = new WarmingList(1, 8, 1);
        for (int key = 0; key < 20; key++)
        {
            list.Postpone(key);
        }

        Assert.That(list.TryNext(out _), Is.False, "it rests");
        Assert.That(() => list.TryNext(out _), Is.True.After(2_000, 20), "twenty doubled rests would be the longest there is");
    }

    [Test]
    public void Nothing_rests_once_it_is_woken()
    {
        var list = new WarmingList(1, 8, 1);
        list.Postpone(7);
        list.Wake();
        Assert.That(list.TryNext(out int key));
        Assert.That(key, Is.EqualTo(7));
    }

    /// <summary>Steps read all the time, and the parts of a drive that fail are not those that they read.</summary>
    [Test]
    public void A_read_of_a_step_that_goes_well_ends_no_rest([Values] bool isOfTheList)
    {
        ExpertRead read = GoneWell();
        var list = new WarmingList(1, 8, 1);
        if (isOfTheList)
        {
            list.Begin(read);
        }

        list.Postpone(7);
        list.End(read);
        Assert.That(list.TryNext(out _), Is.EqualTo(isOfTheList));
    }

    /// <summary>As one on a sector that cannot be read: a drive may take seconds for each try.</summary>
    [Test]
    public void An_expert_that_fails_again_and_again_is_left_out_in_the_end()
    {
        var list = new WarmingList(1, 8, 1);
        int tries = 0;
        for (list.Add([7]); list.TryNext(out int key); list.Wake())
        {
            tries++;
            list.Postpone(key);
        }

        Assert.That(tries, Is.EqualTo(10));
    }

    private static unsafe ExpertRead GoneWell()
    {
        var read = new ExpertRead(0, 0, 0, null, new ExpertLayout(new TensorPlace[ExpertFiles.Parts]), IWeightFiles.Alignment, ReadUrgency.Needed);
        for (int piece = 0; piece < read.Pieces.Count; piece++)
        {
            read.Finish(piece, null);
        }

        return read;
    }
}
