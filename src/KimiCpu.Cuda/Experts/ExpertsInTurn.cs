// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using KimiCpu.Compute;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// Experts from drives for the opening, in order. The next ones are on their way meanwhile, since drives want several reads at a time; each by a thread that can be left behind,
/// since drives may never answer. Used by one thread.
/// </summary>
internal sealed unsafe class ExpertsInTurn : IDisposable
{
    /// <summary>Of Kimi K2 100 MB while the model is opened.</summary>
    private const int AtOnce = 4;

    /// <summary>For a drive that has not answered, as <c>DriveReaders</c> has for it.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    /// <summary>Between two looks whether somebody has stopped the opening, while a drive is waited for.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);

    private readonly IReadOnlyList<int> _keys;
    private readonly List<Reader> _readers = [];

    /// <param name="keys">(layer, expert) in one number each.</param>
    /// <param name="bytes">Of a slot.</param>
    /// <param name="source">Makes one that reads files, for one thread.</param>
    public ExpertsInTurn(IReadOnlyList<int> keys, long bytes, Func<ExpertSource> source)
    {
        _keys = keys;
        try
        {
            for (int place = 0; place < Math.Min(AtOnce, keys.Count); place++)
            {
                _readers.Add(new Reader(source(), bytes));
                _readers[place].Begin(keys[place]);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Waits for an expert.</summary>
    /// <param name="place">In the list; those before it were waited for.</param>
    /// <param name="patience">How long its drive may be silent.</param>
    /// <param name="waiting">Called while it is waited for. May throw to stop.</param>
    /// <returns>Its bytes, until <see cref="GoOn"/>.</returns>
    /// <remarks>Where a drive fails or is silent for longer, the exception is that of <see cref="IWeightFiles.Failure"/>.</remarks>
    public byte* Wait(int place, TimeSpan patience, Action waiting)
    {
        Reader reader = _readers[place % AtOnce];
        long start = Stopwatch.GetTimestamp();
        Exception? failure;
        while (!reader.Thread.TryWait(s_look < patience ? s_look : patience, out failure))
        {
            waiting();
            if (reader.Source.SilentSince(start) >= patience)
            {
                throw reader.Source.Silence(_keys[place], patience);
            }
        }

        if (failure is not null)
        {
            ExceptionDispatchInfo.Throw(failure);
        }

        return reader.Bytes;
    }

    /// <summary>An expert's bytes are used no more, so that a later one's may take their place.</summary>
    public void GoOn(int place)
    {
        if (place + AtOnce < _keys.Count)
        {
            _readers[place % AtOnce].Begin(_keys[place + AtOnce]);
        }
    }

    public void Dispose()
    {
        // Behind this nothing is written to the bytes any more, also where a thread is left behind.
        _readers.ForEach(r => r.Source.End());
        long start = Stopwatch.GetTimestamp();
        foreach (Reader reader in _readers)
        {
            TimeSpan left = s_patience - Stopwatch.GetElapsedTime(start);
            reader.Thread.End(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            reader.Free();
        }
    }

    private sealed class Reader(ExpertSource source, long bytes)
    {
        private nint _bytes;

        public ExpertSource Source => source;

        public WorkThread Thread { get; } = new("kimi-gpu-read");

        public byte* Bytes => (byte*)_bytes;

        public void Begin(int key)
        {
            _bytes = _bytes == 0 ? (nint)NativeMemory.Alloc((nuint)bytes) : _bytes;
            Thread.Start(() => source.Copy(key, Bytes));
        }

        public void Free() => NativeMemory.Free((void*)_bytes);
    }
}
