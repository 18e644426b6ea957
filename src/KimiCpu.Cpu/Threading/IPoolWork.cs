// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>Work that is cut into items; <see cref="Execute"/> runs on several threads at once for disjoint ranges.</summary>
internal interface IPoolWork
{
    /// <param name="begin">First item.</param>
    /// <param name="end">Behind the last item.</param>
    /// <param name="worker">Index of the executing worker, 0 … Threads - 1, for scratch memory of its own.</param>
    void Execute(int begin, int end, int worker);

    /// <summary>
    /// Whether items take about equally long and read memory one behind another, so that workers take most of their share at once; else they take
    /// less, to leave items to others that are done first. Stays the same during a run; workers that come too late may ask after it.
    /// </summary>
    bool ReadsInStretches => false;

    /// <summary>Whether an item is done by its own node alone, however long the others wait for it. Stays the same during a run.</summary>
    bool StaysOnNode => false;
}
