// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using KimiCpu.Compute;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// Where an expert's bytes come from on their way to a slot: the mapping; or the files past it, as a store reads them, so that they do not
/// push out of the page cache what others need there.
/// </summary>
/// <param name="weights">Of the model.</param>
/// <param name="files">Where a store reads the experts from; null where they are used in the mapping.</param>
/// <param name="layout">Of a slot.</param>
internal sealed unsafe class ExpertSource(ModelWeights weights, ExpertFiles? files, ExpertSlotLayout layout)
{
    /// <summary>Of a read.</summary>
    private const int PieceBytes = 4 << 20;

    /// <summary>Held while bytes from files go to a slot, and never while a drive is asked: that may take for ever.</summary>
    private readonly Lock _writing = new();
    private bool _ended;
    private long _answered;

    /// <summary>What is being read, or was last.</summary>
    private volatile ReadPlace _reading = new(0, 0);

    /// <summary>
    /// Once it has returned no slot is written to from files any more, however long drives take to answer: copies that are under way end with the read
    /// that they wait for. Copies from the mapping are not ended.
    /// </summary>
    public void End()
    {
        lock (_writing)
        {
            _ended = true;
        }
    }

    /// <summary>How long no file has answered.</summary>
    /// <param name="start">When somebody began to wait (<see cref="Stopwatch"/> ticks): what was silent before has its chance again.</param>
    public TimeSpan SilentSince(long start) => Stopwatch.GetElapsedTime(Math.Max(start, Interlocked.Read(ref _answered)));

    /// <summary>Why the expert that is being put together from files is waited for no longer.</summary>
    /// <param name="key">(layer, expert) in one number.</param>
    /// <param name="patience">How long its drive was silent.</param>
    public Exception Silence(int key, TimeSpan patience)
    {
        (int layer, int expert) = Math.DivRem(key, weights.Shape.ExpertCount);
        ReadPlace reading = _reading;
        TensorPlace place = files!.Of(layer, expert)[reading.Part];
        return files.Files.Failure(place.File, files.NameOf(layer, expert, reading.Part), place.Offset + reading.Done, string.Create(CultureInfo.InvariantCulture, $"The drive has not answered for {patience.TotalSeconds:F0} seconds."), null);
    }

    /// <summary>Puts an expert together, from files one at a time.</summary>
    /// <param name="key">(layer, expert) in one number.</param>
    /// <param name="slot">Room for a slot's bytes.</param>
    /// <remarks>Where a drive fails, the exception is that of <see cref="IWeightFiles.Failure"/>.</remarks>
    /// <exception cref="OperationCanceledException">It was ended meanwhile.</exception>
    public void Copy(int key, byte* slot)
    {
        (int layer, int expert) = Math.DivRem(key, weights.Shape.ExpertCount);
        MlpWeights mapped = weights.Layers[layer].Experts[expert];
        if (files is null)
        {
            layout.Copy(mapped, slot);
            return;
        }

        SlotPart[] parts = layout.Parts(mapped);
        byte* piece = (byte*)NativeMemory.AlignedAlloc(PieceBytes, IWeightFiles.Alignment);
        try
        {
            for (int i = 0; i < parts.Length; i++)
            {
                TensorPlace place = files.Of(layer, expert)[i];
                try
                {
                    Read(files.Files, i, place, slot + parts[i].Offset, piece);
                }
                catch (IOException e)
                {
                    throw files.Files.Failure(place.File, files.NameOf(layer, expert, i), place.Offset, e.Message, e);
                }
            }
        }
        finally
        {
            NativeMemory.AlignedFree(piece);
        }
    }

    /// <summary>Reads what lies around a tensor in whole blocks, piece by piece.</summary>
    private void Read(IWeightFiles files, int part, TensorPlace place, byte* target, byte* piece)
    {
        long done = 0;
        while (done < place.Length)
        {
            long at = place.Offset + done;
            int before = (int)(at % IWeightFiles.Alignment);
            int count = (int)Math.Min(PieceBytes - before, place.Length - done);
            int whole = (before + count + IWeightFiles.Alignment - 1) / IWeightFiles.Alignment * IWeightFiles.Alignment;
            _reading = new ReadPlace(part, done);
            files.Read(place.File, at - before, piece, whole);
            Interlocked.Exchange(ref _answered, Stopwatch.GetTimestamp());
            lock (_writing)
            {
                if (_ended)
                {
                    throw new OperationCanceledException("Nobody wants the expert any more.");
                }

                Buffer.MemoryCopy(piece + before, target + done, count, count);
            }

            done += count;
        }
    }

    /// <summary>How far a copy is.</summary>
    /// <param name="Part">Of an expert: which of its tensors.</param>
    /// <param name="Done">Bytes of the tensor that are there.</param>
    private sealed record ReadPlace(int Part, long Done);
}
