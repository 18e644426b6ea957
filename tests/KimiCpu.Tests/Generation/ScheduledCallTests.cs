// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class ScheduledCallTests
{
    private const int Pages = 24;

    /// <summary>Against the attempt, in a cache in which others come, hold, leave and are given up, with calls that were asked before and others that were not.</summary>
    [Test]
    public void Whether_there_is_room_is_known_by_the_pages_that_a_call_says_it_takes([Values] bool keepsPrefixes, [Range(0, 4)] int seed)
    {
        var random = new Random(seed);
        var cache = new KvCache(new ObservedHotPath(), Pages, 100_000, keepsPrefixes);
        List<KvPrefix> held = [Leave(cache, random)];
        FakeCall[] waiting = [.. Enumerable.Range(0, 6).Select(_ => NewCall(random))];
        (int room, int none) = (0, 0);
        for (int round = 0; round < 2000; round++)
        {
            if (random.Next(2) == 0 && held.Count < 4)
            {
                held.Add(Leave(cache, random));
            }
            else if (held.Count > 1)
            {
                int gone = random.Next(held.Count);
                cache.Release(held[gone]);
                held.RemoveAt(gone);
            }

            FakeCall call = waiting[random.Next(waiting.Length)];
            if (random.Next(3) == 0 || (call.Session?.HeldIn(cache) is { } own && !held.Contains(own)))
            {
                call.Session = random.Next(3) == 0 ? null : new SessionState(null!, cache, held[random.Next(held.Count)]);
            }

            int reserve = random.Next(8);
            bool expected = call.PagesToBegin(cache) <= cache.FreePages - reserve;
            Assert.That(call.TryPrepare(cache, reserve), Is.EqualTo(expected));
            (room, none) = (room + (expected ? 1 : 0), none + (expected ? 0 : 1));
            if (expected && random.Next(2) == 0)
            {
                // Others may take over what it has computed of its text then, and it goes on from there.
                int tokens = random.Next(call.Missing + 1);
                call.Sequence!.Advance(call.Text.AsSpan(call.Sequence.Length, tokens));
                call.Pause(cache);
            }

            call.Release();
            if (random.Next(8) == 0)
            {
                waiting[random.Next(waiting.Length)] = NewCall(random);
            }
        }

        Assert.That(Math.Min(room, none), Is.GreaterThan(100));
    }

    private static FakeCall NewCall(Random random) => new(Text(random), 10, CancellationToken.None);

    /// <summary>Few different ones, which begin alike.</summary>
    private static int[] Text(Random random) => [.. Enumerable.Range(0, random.Next(1, 10 * KvPage.Tokens)).Select(i => i % KvPage.Tokens < 62 ? i / KvPage.Tokens : random.Next(2))];

    private static KvPrefix Leave(KvCache cache, Random random)
    {
        int[] text = Text(random);
        KvSequence sequence = cache.CreateSequence(shares: true);
        sequence.Adopt(text);
        if (sequence.TryExtend(text.Length - sequence.Length))
        {
            sequence.Advance(text.AsSpan(sequence.Length));
        }

        return sequence.Leave();
    }
}
