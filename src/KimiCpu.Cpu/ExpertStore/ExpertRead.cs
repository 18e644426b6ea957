// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>Why an expert is read; lower numbers go first.</summary>
internal enum ReadUrgency
{
    /// <summary>A step waits for it.</summary>
    Needed,

    /// <summary>Look-ahead says that a step will.</summary>
    Expected,

    /// <summary>Earlier runs used it often.</summary>
    Warming,
}

/// <summary>A part of a read that a thread does in one go.</summary>
internal readonly record struct ReadPiece(int File, long Offset, int Length, long SlotOffset);

/// <summary>An expert on its way into a slot. Its counters belong to the lock of the <see cref="DriveReaders"/>.</summary>
internal sealed unsafe class ExpertRead
{
    private readonly bool[] _started;
    private readonly bool[] _finished;
    private int _unfinished;

    /// <param name="layer">Of the expert.</param>
    /// <param name="expert">Its id.</param>
    /// <param name="slot">Where it goes to.</param>
    /// <param name="target">First byte of the slot.</param>
    /// <param name="layout">What to read.</param>
    /// <param name="pieceBytes">Most bytes of a piece; a multiple of the alignment.</param>
    /// <param name="urgency">At first.</param>
    public ExpertRead(int layer, int expert, int slot, byte* target, ExpertLayout layout, int pieceBytes, ReadUrgency urgency)
    {
        (Layer, Expert, Slot, Layout, Urgency) = (layer, expert, slot, layout, urgency);
        Target = target;
        var pieces = new List<ReadPiece>();
        foreach (SlotRead read in layout.Reads)
        {
            for (long at = 0; at < read.Length; at += pieceBytes)
            {
                pieces.Add(new ReadPiece(read.File, read.Offset + at, (int)Math.Min(pieceBytes, read.Length - at), read.SlotOffset + at));
            }
        }

        Pieces = pieces;
        _unfinished = pieces.Count;
        _started = new bool[pieces.Count];
        _finished = new bool[pieces.Count];
    }

    public int Layer { get; }

    public int Expert { get; }

    public int Slot { get; }

    /// <summary>The step that it was begun in.</summary>
    public long Step { get; init; }

    public byte* Target { get; }

    public ExpertLayout Layout { get; }

    public IReadOnlyList<ReadPiece> Pieces { get; }

    public ReadUrgency Urgency { get; set; }

    /// <summary>Nobody wants it any more; pieces that had not begun are left out, so the slot never holds the expert.</summary>
    public bool IsAbandoned { get; private set; }

    /// <summary>Why it failed; null while nothing has.</summary>
    public Exception? Error { get; private set; }

    /// <summary>Whether more than half of it has begun.</summary>
    public bool IsMostlyBegun => 2 * _started.AsSpan().Count(true) > _started.Length;

    /// <summary>Whether pieces are being read at this moment.</summary>
    public bool IsInFlight => _unfinished > _started.AsSpan().Count(false);

    /// <summary>The first piece that is not done; for messages about drives that stall.</summary>
    public ReadPiece Pending => Pieces[Math.Max(0, Array.IndexOf(_finished, false))];

    public bool HasStarted(int piece) => _started[piece];

    /// <summary>True for whoever asks first: a piece may stand in several queues.</summary>
    public bool TryStart(int piece) => !_started[piece] && (_started[piece] = true);

    /// <summary>A piece is done, or failed; after an error those that have not begun are left out. True when it was the last.</summary>
    public bool Finish(int piece, Exception? error)
    {
        _finished[piece] = true;
        _unfinished--;
        if (error is not null)
        {
            Error ??= error;
            LeaveOutTheRest();
        }

        return _unfinished == 0;
    }

    /// <summary>Gives it up: nothing more begins. What is in flight still comes in.</summary>
    public void Abandon()
    {
        IsAbandoned = true;
        LeaveOutTheRest();
    }

    private void LeaveOutTheRest()
    {
        for (int piece = 0; piece < _started.Length; piece++)
        {
            if (TryStart(piece))
            {
                _finished[piece] = true;
                _unfinished--;
            }
        }
    }
}
