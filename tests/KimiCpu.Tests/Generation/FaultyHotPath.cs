// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Tests.Generation;

/// <summary>A hot path that can be told to fail, or to put a NaN into a layer's output.</summary>
internal sealed class FaultyHotPath(IHotPath inner) : IHotPath
{
    public int PoisonLayer { get; set; } = -1;

    public Exception? Failure { get; set; }

    public Exception? ReserveFailure { get; set; }

    /// <summary>Pages that are made in spite of <see cref="ReserveFailure"/>.</summary>
    public int ReservablePages { get; set; }

    public bool PoisonLogits { get; set; }

    public Action? BeforePass { get; set; }

    public int MaxRows => inner.MaxRows;

    public int EfficientRows => inner.EfficientRows;

    public long BytesPerPage => inner.BytesPerPage;

    public long BytesRead(RaggedBatch batch) => inner.BytesRead(batch);

    public void ReservePages(int count)
    {
        if (ReserveFailure is not null && count > ReservablePages)
        {
            throw ReserveFailure;
        }

        inner.ReservePages(count);
    }

    public void CopyPage(int source, int target) => inner.CopyPage(source, target);

    public void ReadPage(int page, int tokens, Span<byte> bytes) => inner.ReadPage(page, tokens, bytes);

    public void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes) => inner.WritePage(page, tokens, bytes);

    public void Begin(RaggedBatch batch)
    {
        BeforePass?.Invoke();
        if (Failure is not null)
        {
            throw Failure;
        }

        inner.Begin(batch);
    }

    public RoutedRows Attend(int layer) => inner.Attend(layer);

    public void StartShared(int layer) => inner.StartShared(layer);

    public Span<float> RoutedSum => inner.RoutedSum;

    public void Finish(int layer)
    {
        if (layer == PoisonLayer)
        {
            inner.RoutedSum[0] = float.NaN;
        }

        inner.Finish(layer);
    }

    public void Logits(ReadOnlySpan<int> rows, Span<float> logits)
    {
        inner.Logits(rows, logits);
        logits[0] = PoisonLogits ? float.NaN : logits[0];
    }

    public int NonFiniteLayer(int row) => inner.NonFiniteLayer(row);

    public void Dispose()
    {
    }
}
