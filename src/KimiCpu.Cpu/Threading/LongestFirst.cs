// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>The order of items that take unequally long, for a pool whose threads begin at the front of their own contiguous shares and then take from the back of others.</summary>
internal static class LongestFirst
{
    /// <summary>Deals items like cards: a long one to each thread, another one to each, and the shortest last, which are what is taken from others.</summary>
    /// <param name="items">The longest first.</param>
    /// <param name="threads">That share them.</param>
    /// <param name="dealt">As many, in the order in which the pool takes them.</param>
    public static void Deal<T>(ReadOnlySpan<T> items, int threads, Span<T> dealt)
    {
        int count = items.Length;
        int next = 0;
        for (int turn = 0; next < count; turn++)
        {
            for (int thread = 0; thread < threads; thread++)
            {
                int place = Begin(thread) + turn;
                if (place < Begin(thread + 1))
                {
                    dealt[place] = items[next++];
                }
            }
        }

        int Begin(int thread) => (int)((long)count * thread / threads);
    }
}
