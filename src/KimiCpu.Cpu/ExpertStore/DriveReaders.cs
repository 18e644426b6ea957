// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// Threads that read pieces of experts, some for each drive, so that every drive has several reads in flight and none waits
/// for another. What steps wait for goes first. Threads that a drive does not answer are left behind, never waited for.
/// </summary>
internal sealed unsafe class DriveReaders : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly ExpertFiles _experts;
    private readonly Action<ExpertRead> _finished;
    private readonly object _gate = new();
    private readonly Queue<(ExpertRead Read, int Piece)>[][] _queues;
    private readonly List<Thread> _threads = [];
    private bool _stopped;

    /// <summary>Threads that have not ended.</summary>
    private int _running;
    private Action? _atEnd;
    private long _bytesRead;
    private readonly long[] _progress;

    /// <param name="experts">What is read; the files stay the caller's.</param>
    /// <param name="threadsOfDrive">Reads in flight on a drive; 1 or more.</param>
    /// <param name="finished">Called on a reading thread, outside of locks, when an expert is there or has failed.</param>
    /// <param name="start">Starts a thread, or throws where the system has none left; null for <see cref="Thread.Start()"/>.</param>
    public DriveReaders(ExpertFiles experts, int threadsOfDrive, Action<ExpertRead> finished, Action<Thread>? start = null)
    {
        _experts = experts;
        _finished = finished;
        int drives = 1 + Enumerable.Range(0, experts.Files.Count).Max(experts.Files.DriveOf);
        _queues = [.. Enumerable.Range(0, drives).Select(_ => Enum.GetValues<ReadUrgency>().Select(_ => new Queue<(ExpertRead, int)>()).ToArray())];
        _progress = new long[drives];
        Array.Fill(_progress, Stopwatch.GetTimestamp());
        _running = drives * threadsOfDrive;
        try
        {
            for (int i = 0; i < drives * threadsOfDrive; i++)
            {
                int drive = i % drives;
                var thread = new Thread(() => Loop(drive)) { IsBackground = true, Name = $"kimi-drive-{drive}" };
                OwnThread.Start(thread, start);
                _threads.Add(thread);
            }
        }
        catch
        {
            // Nobody else could end those that run already.
            Stop();
            throw;
        }
    }

    /// <summary>Drives that are read from, each by threads of its own.</summary>
    public int DriveCount => _queues.Length;

    /// <summary>Bytes that came from the drives.</summary>
    public long BytesRead => Interlocked.Read(ref _bytesRead);

    /// <summary>Told of every piece on a reading thread: the read, the drive, when it began and ended (<see cref="Stopwatch"/> ticks). For timelines.</summary>
    public Action<ExpertRead, int, long, long>? PieceDone { get; set; }

    public void Start(ExpertRead read)
    {
        lock (_gate)
        {
            Enqueue(read);
        }
    }

    /// <summary>It is as urgent as this from now on, if it is not more so.</summary>
    public void Hurry(ExpertRead read, ReadUrgency urgency)
    {
        lock (_gate)
        {
            if (urgency < read.Urgency)
            {
                read.Urgency = urgency;
                Enqueue(read);
            }
        }
    }

    /// <summary>
    /// Gives up a read that nobody wants any more, unless most of it has begun: it then goes on to its end. Pieces that a
    /// drive is reading still come in, after which the read is reported as finished.
    /// </summary>
    /// <returns>Whether nothing is in flight, so that its slot is free at once and nothing is reported.</returns>
    public bool TryAbandon(ExpertRead read)
    {
        lock (_gate)
        {
            if (read.IsMostlyBegun)
            {
                return false;
            }

            read.Abandon();
            return !read.IsInFlight;
        }
    }

    /// <summary>Since the last piece came in from the drive that a read waits for.</summary>
    public TimeSpan SinceProgress(ExpertRead read)
    {
        lock (_gate)
        {
            return Stopwatch.GetElapsedTime(Interlocked.Read(ref _progress[_experts.Files.DriveOf(read.Pending.File)]));
        }
    }

    /// <summary>Which tensor a drive has not answered about, as an exception that says so.</summary>
    public Exception Stalled(ExpertRead read, TimeSpan waited)
    {
        lock (_gate)
        {
            return Explain(read, read.Pending, new IOException($"The drive has not answered for {waited.TotalSeconds:F0} seconds."));
        }
    }

    /// <summary>Whether a drive may still write to the read's slot. Once they are stopped nothing that has come in begins anew.</summary>
    public bool IsInFlight(ExpertRead read)
    {
        lock (_gate)
        {
            return read.IsInFlight;
        }
    }

    /// <summary>Whether all threads have ended, so that nobody writes to the slots any more. Waits a few seconds for it.</summary>
    public bool Stop()
    {
        lock (_gate)
        {
            _stopped = true;
            Monitor.PulseAll(_gate);
        }

        long start = Stopwatch.GetTimestamp();
        return _threads.TrueForAll(t => s_patience - Stopwatch.GetElapsedTime(start) is var left && t.Join(left > TimeSpan.Zero ? left : TimeSpan.Zero));
    }

    /// <summary>Has something done when all threads have ended: now where they have, or by the last one.</summary>
    public void AtEnd(Action done)
    {
        lock (_gate)
        {
            if (_running > 0)
            {
                _atEnd = done;
                return;
            }
        }

        done();
    }

    public void Dispose() => Stop();

    private void Enqueue(ExpertRead read)
    {
        for (int piece = 0; piece < read.Pieces.Count; piece++)
        {
            if (!read.HasStarted(piece))
            {
                _queues[_experts.Files.DriveOf(read.Pieces[piece].File)][(int)read.Urgency].Enqueue((read, piece));
            }
        }

        Monitor.PulseAll(_gate);
    }

    private void Loop(int drive)
    {
        while (Next(drive) is { } next)
        {
            Exception? error = null;
            long start = Stopwatch.GetTimestamp();
            ReadPiece piece = next.Read.Pieces[next.Piece];
            try
            {
                _experts.Files.Read(piece.File, piece.Offset, next.Read.Target + piece.SlotOffset, piece.Length);
                Interlocked.Add(ref _bytesRead, piece.Length);
            }
            catch (Exception e)
            {
                error = Explain(next.Read, piece, e);
            }

            long end = Stopwatch.GetTimestamp();
            Interlocked.Exchange(ref _progress[drive], end);
            PieceDone?.Invoke(next.Read, drive, start, end);
            bool last;
            lock (_gate)
            {
                last = next.Read.Finish(next.Piece, error);
            }

            if (last)
            {
                _finished(next.Read);
            }
        }

        Action? done = null;
        lock (_gate)
        {
            if (--_running == 0)
            {
                done = _atEnd;
            }
        }

        done?.Invoke();
    }

    private (ExpertRead Read, int Piece)? Next(int drive)
    {
        lock (_gate)
        {
            while (!_stopped)
            {
                foreach (Queue<(ExpertRead Read, int Piece)> queue in _queues[drive])
                {
                    while (queue.TryDequeue(out (ExpertRead Read, int Piece) next))
                    {
                        if (next.Read.TryStart(next.Piece))
                        {
                            return next;
                        }
                    }
                }

                Monitor.Wait(_gate);
            }

            return null;
        }
    }

    private Exception Explain(ExpertRead read, ReadPiece piece, Exception cause)
    {
        long at = piece.Offset;
        ReadOnlySpan<TensorPlace> places = _experts.Of(read.Layer, read.Expert);
        int part = 0;
        for (int p = 0; p < places.Length; p++)
        {
            if (places[p].File == piece.File && places[p].Offset < piece.Offset + piece.Length && places[p].End > piece.Offset)
            {
                part = p;
                at = Math.Max(at, places[p].Offset);
                break;
            }
        }

        return _experts.Files.Failure(piece.File, _experts.NameOf(read.Layer, read.Expert, part), at, cause.Message, cause);
    }
}
