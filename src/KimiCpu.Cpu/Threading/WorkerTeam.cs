// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>The workers of a node.</summary>
internal sealed class WorkerTeam(WorkerNode node, int[] processors)
{
    /// <summary>Workers that take part: the first so many.</summary>
    public int Active;

    /// <summary>Workers of the nodes before that take part.</summary>
    public int ActiveBefore;

    public int First { get; } = node.First;

    public int Threads { get; } = node.Threads;

    public int[] Processors { get; } = processors;
}
