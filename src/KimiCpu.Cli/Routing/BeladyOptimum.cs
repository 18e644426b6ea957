// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>
/// The most hits that any cache can have which reads what is needed when it is needed: the expert goes whose next use is
/// farthest in the future, which may be the new one (L. A. Belady, IBM Systems Journal 5 (2), 1966). It knows the future, so it
/// is a bound and no policy.
/// </summary>
internal static class BeladyOptimum
{
    private const int NeverAgain = int.MaxValue;

    public static SimulationResult Run(TraceAccesses accesses, int slots)
    {
        int[] next = NextUses(accesses);
        int[] nextOf = new int[accesses.Header.TotalExperts];
        Array.Fill(nextOf, -1);
        var farthest = new PriorityQueue<(int Key, int Next), int>();
        int held = 0;
        int at = 0;
        long needed = 0;
        long hits = 0;
        for (int step = 0; step < accesses.Steps; step++)
        {
            for (int layer = 0; layer < accesses.Layers; layer++)
            {
                foreach (int key in accesses.KeysOf(step, layer))
                {
                    bool hit = nextOf[key] >= 0;
                    needed += accesses.IsCounted(step) ? 1 : 0;
                    hits += hit && accesses.IsCounted(step) ? 1 : 0;
                    held += hit ? 0 : 1;
                    nextOf[key] = next[at];
                    farthest.Enqueue((key, next[at]), -next[at]);
                    at++;
                    if (held > slots)
                    {
                        Evict(farthest, nextOf);
                        held--;
                    }
                }
            }
        }

        return new SimulationResult
        {
            Policy = SimulationResult.Belady,
            Slots = slots,
            ResidentShare = (double)slots / accesses.Header.TotalExperts,
            Accesses = needed,
            Hits = hits,
            Foreseen = 0,
            InVain = 0,
            Tokens = accesses.Tokens,
            ExpertBytes = accesses.Header.ExpertBytes,
        };
    }

    /// <summary>Entries that are out of date are those of uses that have passed.</summary>
    private static void Evict(PriorityQueue<(int Key, int Next), int> farthest, int[] nextOf)
    {
        while (true)
        {
            (int key, int next) = farthest.Dequeue();
            if (nextOf[key] == next)
            {
                nextOf[key] = -1;
                return;
            }
        }
    }

    private static int[] NextUses(TraceAccesses accesses)
    {
        ReadOnlySpan<int> keys = accesses.AllKeys;
        var next = new int[keys.Length];
        var seen = new int[accesses.Header.TotalExperts];
        Array.Fill(seen, NeverAgain);
        for (int i = keys.Length - 1; i >= 0; i--)
        {
            (next[i], seen[keys[i]]) = (seen[keys[i]], i);
        }

        return next;
    }
}
