// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>A pool's workers by node, which of them take part in runs, and how items are cut among these.</summary>
internal sealed class WorkerTeams
{
    private readonly WorkerTeam[] _teams;
    private readonly int[] _teamOf;

    /// <param name="placement">Of the pool's threads.</param>
    /// <param name="tie">Whether threads may be tied to processors.</param>
    public WorkerTeams(WorkerPlacement placement, bool tie)
    {
        _teams = [.. placement.Nodes.Select(n => new WorkerTeam(n, tie ? n.Processors : []))];
        _teamOf = [.. _teams.SelectMany((t, i) => Enumerable.Repeat(i, t.Threads))];
        ActiveThreads = Threads;
    }

    /// <summary>Of all nodes.</summary>
    public int Threads => _teamOf.Length;

    /// <summary>Nodes.</summary>
    public int Count => _teams.Length;

    public WorkerTeam this[int node] => _teams[node];

    /// <summary>How many workers take part in runs, in proportion on each node; the others sleep. Set between runs only; workers that are late for the last one may read it meanwhile.</summary>
    public int ActiveThreads
    {
        get;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, Threads);
            field = value;
            foreach (WorkerTeam team in _teams)
            {
                // Rounded up, so that the caller's node always has a part.
                team.ActiveBefore = Active(team.First);
                team.Active = Active(team.First + team.Threads) - team.ActiveBefore;
            }

            int Active(int workers) => (int)((((long)value * workers) + Threads - 1) / Threads);
        }
    }

    /// <summary>The node of a worker.</summary>
    public int NodeOf(int worker) => _teamOf[worker];

    /// <summary>The workers of a worker's node.</summary>
    public WorkerTeam TeamOf(int worker) => _teams[_teamOf[worker]];

    public bool IsActive(int worker)
    {
        WorkerTeam team = TeamOf(worker);
        return worker - team.First < Volatile.Read(ref team.Active);
    }

    /// <summary>Where each node's part of so many items ends when they are divided in proportion to the threads.</summary>
    public void CutByNode(int itemCount, Span<int> nodeEnds)
    {
        for (int n = 0; n < _teams.Length; n++)
        {
            nodeEnds[n] = (int)((long)itemCount * (_teams[n].ActiveBefore + _teams[n].Active) / ActiveThreads);
        }
    }

    /// <summary>Each node's items among its active workers, to each equally many.</summary>
    /// <param name="nodeEnds">Behind each node's last item.</param>
    /// <param name="ends">(Threads) behind each active worker's last item.</param>
    public void Divide(ReadOnlySpan<int> nodeEnds, Span<int> ends)
    {
        for (int n = 0, begin = 0; n < nodeEnds.Length; begin = nodeEnds[n], n++)
        {
            WorkerTeam team = _teams[n];
            int count = nodeEnds[n] - begin;
            for (int i = 0; i < team.Active; i++)
            {
                ends[team.First + i] = begin + (int)((long)count * (i + 1) / team.Active);
            }
        }
    }

    /// <exception cref="ArgumentException">Ends do not rise, or a node has items and nobody active.</exception>
    public void CheckNodeEnds(ReadOnlySpan<int> nodeEnds)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(nodeEnds.Length, Count);
        for (int n = 0, begin = 0; n < nodeEnds.Length; begin = nodeEnds[n], n++)
        {
            if (nodeEnds[n] < begin || (nodeEnds[n] > begin && _teams[n].Active == 0))
            {
                throw new ArgumentException("Ends rise, and a node without active threads has no items.", nameof(nodeEnds));
            }
        }
    }

    /// <exception cref="ArgumentException">Ends do not rise, or a worker that is not active has items.</exception>
    public void CheckShareEnds(ReadOnlySpan<int> shareEnds)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(shareEnds.Length, Threads);
        for (int worker = 0, begin = 0; worker < shareEnds.Length; begin = shareEnds[worker], worker++)
        {
            if (shareEnds[worker] < begin || (shareEnds[worker] > begin && !IsActive(worker)))
            {
                throw new ArgumentException("Ends rise, and a worker that is not active has no items.", nameof(shareEnds));
            }
        }
    }
}
