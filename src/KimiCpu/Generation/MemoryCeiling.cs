// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Generation;

/// <summary>
/// The memory's read bandwidth, which bounds decoding. It is measured once of itself, in the engine's idle time after a
/// step for which it matters, and whenever somebody asks, then between steps too. There is one measurement at a time.
/// <see cref="Request"/> may be called from any thread; the rest belongs to the engine's.
/// </summary>
/// <param name="meter">Measures.</param>
/// <param name="time">What patience is measured by.</param>
internal sealed class MemoryCeiling(IMemoryMeter meter, TimeProvider time)
{
    /// <summary>A step that reads less than so many times the caches may find much of it there.</summary>
    private const int CacheMargin = 2;

    /// <summary>Between steps a measurement may take this part of their time, or who asks would wait for a hundred steps.</summary>
    private const int PartOfStep = 10;

    /// <summary>A measurement that finds no idle time for so long gives its memory back, which is in no plan and may be gigabytes, and begins anew in the next one.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly object _gate = new();
    private TaskCompletionSource<double?>? _request;
    private bool _ended;
    private IBandwidthMeasurement? _measurement;
    private long _lastSlice;
    private bool _wanted;
    private bool _tried;

    /// <summary>Not a number until measured: threads that ask read one word.</summary>
    private double _bytesPerSecond = double.NaN;

    /// <summary>Null until measured.</summary>
    public double? BytesPerSecond
    {
        get
        {
            double bytes = Volatile.Read(ref _bytesPerSecond);
            return double.IsNaN(bytes) ? null : bytes;
        }

        private set => Volatile.Write(ref _bytesPerSecond, value ?? double.NaN);
    }

    /// <summary>Asks for a measurement, or for the outcome of the one under way; bytes per second, null where there is no memory for it.</summary>
    /// <exception cref="ObjectDisposedException">The engine has ended.</exception>
    public Task<double?> Request()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_ended, typeof(KimiModel));
            _request ??= new TaskCompletionSource<double?>(TaskCreationOptions.RunContinuationsAsynchronously);
            return _request.Task;
        }
    }

    /// <summary>Notes a step that decoded; the first one that is large enough makes the bandwidth worth knowing.</summary>
    public void NoteStep(long bytes) => _wanted |= !_tried && Matters(bytes);

    /// <summary>The part of the bandwidth that steps used; null where it is not known or the caches serve such steps.</summary>
    public double? ShareOf(double bytesPerSecond, double bytesPerStep) =>
        bytesPerSecond > 0 && Matters(bytesPerStep) ? bytesPerSecond / BytesPerSecond : null;

    /// <param name="idle">Whether no call is there.</param>
    public bool HasWork(bool idle) => IsRequested() || (idle && _wanted);

    /// <summary>Runs a slice of the measurement where there is work; between long steps more than one.</summary>
    /// <param name="idle">Whether no call is there.</param>
    /// <param name="lastStep">How long the step before has taken.</param>
    public void Advance(bool idle, TimeSpan lastStep = default)
    {
        if (!HasWork(idle))
        {
            if (_measurement is not null && time.GetElapsedTime(_lastSlice) > s_patience)
            {
                DropMeasurement();
            }

            return;
        }

        long start = Stopwatch.GetTimestamp();
        do
        {
            RunSlice();
        }
        while (!idle && HasWork(idle) && Stopwatch.GetElapsedTime(start) < lastStep / PartOfStep);
    }

    /// <summary>Ends the measurement under way and refuses further ones.</summary>
    public void End(Exception reason)
    {
        lock (_gate)
        {
            _ended = true;
        }

        Finish(request => Fail(request, reason));
    }

    private static void Fail(TaskCompletionSource<double?> request, Exception reason)
    {
        request.SetException(reason);

        // Who asked may have gone away.
        _ = request.Task.Exception;
    }

    private void RunSlice()
    {
        _lastSlice = time.GetTimestamp();
        try
        {
            _measurement ??= meter.Start();
            if (_measurement is null || !_measurement.Advance())
            {
                double? found = _measurement?.BytesPerSecond;
                BytesPerSecond = found ?? BytesPerSecond;
                Finish(request => request.SetResult(found));
            }
        }
        catch (Exception e)
        {
            // Those who asked hear of it; for the calls nothing has happened.
            Finish(request => Fail(request, e));
        }
    }

    private bool Matters(double bytes) => bytes >= (double)CacheMargin * meter.CacheBytes;

    private bool IsRequested()
    {
        lock (_gate)
        {
            return _request is not null;
        }
    }

    private void DropMeasurement()
    {
        _measurement?.Dispose();
        _measurement = null;
    }

    private void Finish(Action<TaskCompletionSource<double?>> answer)
    {
        DropMeasurement();
        (_wanted, _tried) = (false, true);
        TaskCompletionSource<double?>? request;
        lock (_gate)
        {
            (request, _request) = (_request, null);
        }

        if (request is not null)
        {
            answer(request);
        }
    }
}
