// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Finds the names that a misspelled one may have been meant to be.</summary>
internal static class SimilarNames
{
    private const int Most = 3;

    /// <summary>Shorter names are part of too many others.</summary>
    private const int LeastPart = 4;

    /// <summary>Whether two names are the same but for case, underscores and hyphens.</summary>
    public static bool AreEqual(string one, string other) => Letters(one) == Letters(other);

    /// <summary>The known names that differ by few letters, or that are part of the name or it of them; the closest first.</summary>
    public static IEnumerable<string> Of(string name, IEnumerable<string> known)
    {
        string letters = Letters(name);
        return known
            .Select(k => (Name: k, Letters: Letters(k)))
            .Select(k => (k.Name, k.Letters, Distance: Distance(letters, k.Letters)))
            .Where(k => IsFew(k.Distance, letters, k.Letters) || ArePart(letters, k.Letters))
            .OrderBy(k => k.Distance)
            .Take(Most)
            .Select(k => k.Name);
    }

    /// <summary>The known name that one differs from by few letters, where names of strangers are found too: that one is part of the other says nothing there. Null for none.</summary>
    public static string? Misspelt(string name, IEnumerable<string> known)
    {
        string letters = Letters(name);
        (string? closest, int distance) = known.Select(k => (k, Distance(letters, Letters(k)))).MinBy(k => k.Item2);
        return closest is not null && IsFew(distance, letters, Letters(closest)) ? closest : null;
    }

    private static bool IsFew(int distance, string one, string other) => distance <= Math.Max(1, Math.Min(one.Length, other.Length) / 3);

    private static bool ArePart(string one, string other) => Math.Min(one.Length, other.Length) >= LeastPart
        && (one.Contains(other, StringComparison.Ordinal) || other.Contains(one, StringComparison.Ordinal));

    private static string Letters(string name) => string.Concat(name.Where(char.IsLetterOrDigit)).ToUpperInvariant();

    /// <summary>How many letters have to be inserted, left out, replaced, or swapped with their neighbour (optimal string alignment).</summary>
    private static int Distance(string from, string to)
    {
        int[,] best = new int[from.Length + 1, to.Length + 1];
        for (int i = 0; i <= from.Length; i++)
        {
            for (int j = 0; j <= to.Length; j++)
            {
                best[i, j] = i == 0 ? j : j == 0 ? i : Math.Min(
                    Math.Min(best[i - 1, j], best[i, j - 1]) + 1,
                    best[i - 1, j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1));
                if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
                {
                    best[i, j] = Math.Min(best[i, j], best[i - 2, j - 2] + 1);
                }
            }
        }

        return best[from.Length, to.Length];
    }
}
