// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Brings the routed experts of a mapped checkpoint into memory before anybody waits for them, and asks the system to keep them there.</summary>
internal static class MappedExperts
{
    /// <summary>Of one request: progress is told and cancelling is noticed between them.</summary>
    private const long PieceBytes = 128L << 20;

    /// <summary>Tensors so near to each other are brought in with what lies between.</summary>
    private const long LargestGap = 1 << 20;

    /// <summary>Drives are faster with several requests at once.</summary>
    private const int AtOnce = 4;

    /// <param name="checkpoint">Whose mappings.</param>
    /// <param name="progress">Told after each piece: mebibytes done, mebibytes in all. May throw to stop.</param>
    /// <param name="bringIn">Has a range come in as it should, before it is locked; null where that does not matter. Called for one range at a time: file, offset, length.</param>
    /// <returns>Whether all of it is locked in memory; where the system refuses that, it may take pages back.</returns>
    /// <exception cref="CheckpointException">A file cannot be read.</exception>
    public static bool Load(Checkpoint checkpoint, Action<int, int>? progress, Action<MappedFile, long, long>? bringIn = null)
    {
        List<(int Shard, long Offset, long Length)> pieces = Pieces(checkpoint);
        long total = pieces.Sum(p => p.Length);
        var counting = new Lock();
        var bringing = new Lock();
        long done = 0;
        int unlocked = 0;
        try
        {
            Parallel.ForEach(pieces, new ParallelOptions { MaxDegreeOfParallelism = AtOnce }, piece =>
            {
                MappedFile mapping = checkpoint.MappingOf(piece.Shard);
                if (bringIn is not null)
                {
                    lock (bringing)
                    {
                        bringIn(mapping, piece.Offset, piece.Length);
                    }
                }

                if (Volatile.Read(ref unlocked) > 0 || !mapping.TryLock(piece.Offset, piece.Length))
                {
                    Interlocked.Increment(ref unlocked);
                    if (!mapping.TryPopulate(piece.Offset, piece.Length))
                    {
                        // Into the page cache at least. Unlike a page fault, a read reports what is wrong with the drive.
                        for (long at = 0; at < piece.Length; at += PieceBytes / 8)
                        {
                            checkpoint.Files.Read(checkpoint.Shards[piece.Shard], piece.Offset + at, (int)Math.Min(PieceBytes / 8, piece.Length - at));
                        }
                    }
                }

                // Whoever is told sees it count up.
                lock (counting)
                {
                    done += piece.Length;
                    progress?.Invoke((int)(done >> 20), (int)(total >> 20));
                }
            });
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        return unlocked == 0;
    }

    private static List<(int Shard, long Offset, long Length)> Pieces(Checkpoint checkpoint)
    {
        var runs = new List<(int Shard, long Offset, long Length)>();
        foreach (TensorEntry tensor in checkpoint.Tensors.Values.Where(t => t.IsRoutedExpert).OrderBy(t => t.Shard).ThenBy(t => t.Offset))
        {
            if (runs.Count > 0 && runs[^1] is var last && last.Shard == tensor.Shard && tensor.Offset - (last.Offset + last.Length) <= LargestGap)
            {
                runs[^1] = last with { Length = tensor.Offset + tensor.Length - last.Offset };
            }
            else
            {
                runs.Add((tensor.Shard, tensor.Offset, tensor.Length));
            }
        }

        return [.. runs.SelectMany(r => Enumerable.Range(0, (int)((r.Length + PieceBytes - 1) / PieceBytes))
            .Select(i => (r.Shard, r.Offset + (i * PieceBytes), Math.Min(PieceBytes, r.Length - (i * PieceBytes)))))];
    }
}
