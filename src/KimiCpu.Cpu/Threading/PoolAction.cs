// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>A method as pool work; made once and run often, so that nothing is allocated per run.</summary>
internal sealed class PoolAction(Action<int, int, int> execute) : IPoolWork
{
    /// <inheritdoc/>
    public bool ReadsInStretches { get; set; }

    /// <inheritdoc/>
    public bool StaysOnNode { get; init; }

    public void Execute(int begin, int end, int worker) => execute(begin, end, worker);
}
