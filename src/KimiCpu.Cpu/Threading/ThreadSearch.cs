// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>How long the same work took with so many threads.</summary>
internal readonly record struct ThreadTiming(int Threads, double Seconds);

/// <summary>What a search found.</summary>
/// <param name="Threads">The fastest count, or a smaller one that is as fast.</param>
/// <param name="Timings">All measurements, by rising threads; none where there is nothing to choose.</param>
internal sealed record ThreadChoice(int Threads, IReadOnlyList<ThreadTiming> Timings);

/// <summary>
/// Looks for the thread count that does the same work fastest: all threads, then half, a quarter and so on while that does
/// not take far longer, then between the best of those and its neighbours, ever nearer.
/// </summary>
internal sealed class ThreadSearch
{
    /// <summary>Threads that gain no more than this are better left to others.</summary>
    private const double Gain = 1.02;

    /// <summary>So much slower than the best, and still fewer threads will not help.</summary>
    private const double FarSlower = 1.5;

    private const int MostMeasurements = 16;

    private readonly SortedDictionary<int, double> _seconds = [];
    private readonly int _most;
    private readonly int _step;
    private readonly Func<int, double?> _measure;
    private bool _outOfTime;

    private ThreadSearch(int most, int step, Func<int, double?> measure)
    {
        _most = most;
        _step = step;
        _measure = measure;
    }

    private int Best => _seconds.MinBy(s => s.Value).Key;

    /// <param name="most">Threads that there are.</param>
    /// <param name="nodes">Counts are multiples of this, so that all nodes have equally many.</param>
    /// <param name="measure">Seconds of the work with so many threads; null when there is no time for more.</param>
    public static ThreadChoice Find(int most, int nodes, Func<int, double?> measure)
    {
        int step = most % nodes == 0 ? nodes : 1;
        var search = new ThreadSearch(most, step, measure);
        if (most > step)
        {
            search.TryHalves();
            search.TryNeighbours();
        }

        return search.Choose();
    }

    private void TryHalves()
    {
        for (int threads = _most; TryCount(threads) && _seconds[threads] <= FarSlower * _seconds[Best] && threads > _step;)
        {
            threads = Math.Max(_step, threads / 2 / _step * _step);
        }
    }

    private void TryNeighbours()
    {
        if (_seconds.Count == 0)
        {
            return;
        }

        for (int distance = Math.Max(_step, Best / 4 / _step * _step); distance >= _step && !_outOfTime;)
        {
            int best = Best;
            TryCount(best - distance);
            TryCount(best + distance);
            distance = Best == best ? distance / 2 / _step * _step : distance;
        }
    }

    /// <summary>Whether a count was measured now.</summary>
    private bool TryCount(int threads)
    {
        if (_outOfTime || threads < 1 || threads > _most || _seconds.ContainsKey(threads) || _seconds.Count >= MostMeasurements)
        {
            return false;
        }

        if (_measure(threads) is not { } seconds)
        {
            _outOfTime = true;
            return false;
        }

        _seconds[threads] = seconds;
        return true;
    }

    private ThreadChoice Choose()
    {
        if (_seconds.Count == 0)
        {
            return new ThreadChoice(_most, []);
        }

        double enough = Gain * _seconds[Best];
        return new ThreadChoice(_seconds.First(s => s.Value <= enough).Key, [.. _seconds.Select(s => new ThreadTiming(s.Key, s.Value))]);
    }
}
