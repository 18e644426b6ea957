// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;

namespace KimiCpu.Checkpoints;

/// <summary>A range of an open file to be read.</summary>
internal readonly record struct FileRange(DirectFile File, string Path, long Offset, long Length);

/// <summary>Reads ranges of files one after the other, in large pieces, while the pieces before are worked on.</summary>
internal static class ReadAhead
{
    /// <summary>Large enough for any drive, small enough that cancelling is noticed at once.</summary>
    public const int PieceBytes = 16 << 20;

    private const int Pieces = 3;

    /// <param name="ranges">In order.</param>
    /// <param name="use">Called with consecutive bytes of the ranges, by the calling thread.</param>
    /// <param name="remedy">What the user is told to do where a read fails.</param>
    /// <param name="cancellationToken">Honoured between pieces.</param>
    /// <exception cref="CheckpointException">A drive fails, or a file was changed.</exception>
    public static void Run(IEnumerable<FileRange> ranges, Action<ReadOnlySpan<byte>> use, string remedy, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var free = new BlockingCollection<ReadPieceBuffer>();
        using var full = new BlockingCollection<ReadPieceBuffer>();
        for (int i = 0; i < Pieces; i++)
        {
            free.Add(new ReadPieceBuffer(), CancellationToken.None);
        }

        Task reader = Task.Factory.StartNew(() => Fill(ranges, remedy, free, full, stop.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        bool done = false;
        try
        {
            foreach (ReadPieceBuffer piece in full.GetConsumingEnumerable(stop.Token))
            {
                use(piece.Bytes);
                free.Add(piece, CancellationToken.None);
            }

            done = true;
        }
        finally
        {
            if (!done)
            {
                stop.Cancel();
                Task.WaitAny([reader], CancellationToken.None);
            }
        }

        reader.GetAwaiter().GetResult();
    }

    private static void Fill(IEnumerable<FileRange> ranges, string remedy, BlockingCollection<ReadPieceBuffer> free, BlockingCollection<ReadPieceBuffer> full, CancellationToken stop)
    {
        try
        {
            foreach (FileRange range in ranges)
            {
                for (long done = 0; done < range.Length;)
                {
                    ReadPieceBuffer piece = free.Take(stop);
                    done += piece.Read(range, done, remedy);
                    full.Add(piece, stop);
                }
            }
        }
        finally
        {
            full.CompleteAdding();
        }
    }

    /// <summary>Aligned memory for one piece; the garbage collector's, so nobody has to give it back.</summary>
    private sealed unsafe class ReadPieceBuffer
    {
        private readonly byte[] _memory = GC.AllocateUninitializedArray<byte>(PieceBytes + DirectFile.Alignment, pinned: true);
        private readonly int _aligned;
        private int _first;
        private int _count;

        public ReadPieceBuffer()
        {
            fixed (byte* memory = _memory)
            {
                _aligned = (int)((DirectFile.Alignment - ((nuint)memory % DirectFile.Alignment)) % DirectFile.Alignment);
            }
        }

        public ReadOnlySpan<byte> Bytes => _memory.AsSpan(_first, _count);

        /// <summary>Reads what follows the first <paramref name="done"/> bytes of a range, as much as fits.</summary>
        /// <returns>Bytes of the range.</returns>
        public int Read(in FileRange range, long done, string remedy)
        {
            long offset = range.Offset + done;
            int before = (int)(offset % DirectFile.Alignment);
            _first = _aligned + before;
            _count = (int)Math.Min(range.Length - done, PieceBytes - before);
            int whole = (before + _count + DirectFile.Alignment - 1) / DirectFile.Alignment * DirectFile.Alignment;
            try
            {
                fixed (byte* memory = _memory)
                {
                    range.File.Read(offset - before, memory + _aligned, whole);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw CheckpointException.ReadFailed(range.Path, offset, remedy, e);
            }

            return _count;
        }
    }
}
