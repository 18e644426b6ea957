// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// A layer's experts on their way from the thread that runs the passes, which is given them by a store, to the one that sends them to the GPU. That one takes them in an order
/// of its own, whenever they come in, so that sums do not depend on drives.
/// </summary>
internal sealed class PassingExperts : IPassingExperts
{
    private readonly object _gate = new();
    private readonly bool[] _passes;
    private readonly MlpWeights?[] _waiting;
    private int _handedOver;
    private int _taken;
    private bool _isReading;
    private bool _ended;

    /// <param name="experts">Of a layer.</param>
    public PassingExperts(int experts)
    {
        _passes = new bool[experts];
        _waiting = new MlpWeights?[experts];
    }

    /// <summary>Ticks (<see cref="Stopwatch"/>) of the layer in which the thread that runs the passes computed nothing. For that thread.</summary>
    public long TicksOfPass { get; private set; }

    /// <summary>Ticks of the layer in which the GPU's thread waited for experts. For that thread, and for all when it is done.</summary>
    public long TicksOfGpu { get; private set; }

    /// <summary>A layer begins; nobody else is there.</summary>
    /// <param name="experts">Which pass.</param>
    public void Begin(IEnumerable<int> experts)
    {
        Array.Clear(_passes);
        Array.Clear(_waiting);
        foreach (int expert in experts)
        {
            _passes[expert] = true;
        }

        (_handedOver, _taken, _isReading, _ended) = (0, 0, false, false);
        (TicksOfPass, TicksOfGpu) = (0, 0);
    }

    public bool Passes(int expert) => _passes[expert];

    public void HandOver(int expert, MlpWeights weights)
    {
        lock (_gate)
        {
            _waiting[expert] = weights;
            _handedOver++;
            Monitor.PulseAll(_gate);
        }
    }

    public void NoteWait(long ticks) => TicksOfPass += ticks;

    public void WaitUntilTaken()
    {
        long begin = Stopwatch.GetTimestamp();
        lock (_gate)
        {
            while (!_ended && _taken < _handedOver)
            {
                Monitor.Wait(_gate);
            }

            WaitForReader();
        }

        TicksOfPass += Stopwatch.GetTimestamp() - begin;
    }

    public void End()
    {
        lock (_gate)
        {
            _ended = true;
            Monitor.PulseAll(_gate);
            WaitForReader();
        }
    }

    /// <summary>On the GPU's thread: waits for an expert. Its bytes may be read until <see cref="Return"/>, which must follow.</summary>
    /// <returns>Null where it does not come any more.</returns>
    public MlpWeights? Take(int expert)
    {
        long begin = Stopwatch.GetTimestamp();
        lock (_gate)
        {
            while (!_ended && _waiting[expert] is null)
            {
                Monitor.Wait(_gate);
            }

            TicksOfGpu += Stopwatch.GetTimestamp() - begin;
            _isReading = !_ended;
            return _ended ? null : _waiting[expert];
        }
    }

    /// <summary>On the GPU's thread: the bytes of the one that was taken have been read.</summary>
    public void Return()
    {
        lock (_gate)
        {
            _isReading = false;
            _taken++;
            Monitor.PulseAll(_gate);
        }
    }

    private void WaitForReader()
    {
        while (_isReading)
        {
            Monitor.Wait(_gate);
        }
    }
}
