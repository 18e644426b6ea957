// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>Classes of bytes that nothing seen so far tells apart.</summary>
internal sealed class BytePartition
{
    /// <summary>What <see cref="Refine"/> takes of a <see cref="CompileBudget"/>.</summary>
    public const int Work = 2048;

    /// <summary>Class of each byte, numbered in the order of their first bytes.</summary>
    public byte[] ClassOf { get; private set; } = new byte[256];

    public int Count { get; private set; } = 1;

    /// <summary>Splits classes whose bytes have different labels.</summary>
    public void Refine(Func<int, int> label)
    {
        var numbers = new Dictionary<(int, int), byte>();
        var refined = new byte[256];
        for (int value = 0; value < 256; value++)
        {
            (int, int) key = (ClassOf[value], label(value));
            if (!numbers.TryGetValue(key, out byte number))
            {
                number = (byte)numbers.Count;
                numbers.Add(key, number);
            }

            refined[value] = number;
        }

        (ClassOf, Count) = (refined, numbers.Count);
    }
}
