// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Tests.Cpu.ExpertStore;

/// <summary>Files whose drive does what a test wants: fails, or holds its answers back, and counts what is read.</summary>
internal sealed unsafe class FaultyFiles(IWeightFiles inner) : IWeightFiles
{
    private readonly ManualResetEventSlim _open = new(initialState: true);
    private int _reads;
    private int _poolReads;
    private volatile int _stalling;
    private volatile Thread? _reader;

    /// <summary>Thrown by every read while it is set.</summary>
    public IOException? Error { get; set; }

    /// <summary>Reads that are as they should be before any throws.</summary>
    public int GoodReads { get; set; }

    public int Reads => Volatile.Read(ref _reads);

    /// <summary>Those made by threads of .NET's pool.</summary>
    public int PoolReads => Volatile.Read(ref _poolReads);

    /// <summary>The thread that began to read last.</summary>
    public Thread? Reader => _reader;

    public int Count => inner.Count;

    /// <summary>No read returns until <see cref="Resume"/>.</summary>
    public void Stall() => _open.Reset();

    /// <summary>The same from a read on: the first is 1.</summary>
    public void StallFrom(int read) => _stalling = read;

    public void Resume() => _open.Set();

    public int DriveOf(int file) => inner.DriveOf(file);

    public void Read(int file, long offset, byte* target, int count)
    {
        _reader = Thread.CurrentThread;
        int number = Interlocked.Increment(ref _reads);
        _ = Thread.CurrentThread.IsThreadPoolThread ? Interlocked.Increment(ref _poolReads) : 0;
        if (number == _stalling)
        {
            Stall();
        }

        _open.Wait();
        if (Error is { } error && number > GoodReads)
        {
            // What a failed read leaves behind is nobody's business.
            new Span<byte>(target, count).Fill(0xFF);
            throw error;
        }

        inner.Read(file, offset, target, count);
    }

    public Exception Failure(int file, string tensor, long offset, string problem, Exception? cause) => inner.Failure(file, tensor, offset, problem, cause);

    public void Dispose()
    {
        _open.Set();
        inner.Dispose();
    }
}
