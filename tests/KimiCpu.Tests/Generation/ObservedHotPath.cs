// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Tests.Generation;

/// <summary>A hot path that lets a test look, or throw, before every pass. Without an inner one it has pages alone, for what never computes.</summary>
internal sealed class ObservedHotPath(IHotPath? inner = null) : IHotPath
{
    /// <summary>Called on the engine's thread.</summary>
    public Action? BeforePass { get; set; }

    /// <summary>Called on the engine's thread before every layer.</summary>
    public Action<int>? BeforeLayer { get; set; }

    /// <summary>Called before a page is copied.</summary>
    public Action? BeforeCopy { get; set; }

    public int MaxRows => inner?.MaxRows ?? int.MaxValue;

    public int EfficientRows => inner?.EfficientRows ?? 1;

    public long BytesPerPage => inner?.BytesPerPage ?? 1;

    public long BytesRead(RaggedBatch batch) => inner!.BytesRead(batch);

    public void ReservePages(int count) => inner?.ReservePages(count);

    public void CopyPage(int source, int target)
    {
        BeforeCopy?.Invoke();
        inner?.CopyPage(source, target);
    }

    public void ReadPage(int page, int tokens, Span<byte> bytes) => inner!.ReadPage(page, tokens, bytes);

    public void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes) => inner?.WritePage(page, tokens, bytes);

    public void Begin(RaggedBatch batch)
    {
        BeforePass?.Invoke();
        inner!.Begin(batch);
    }

    public RoutedRows Attend(int layer)
    {
        BeforeLayer?.Invoke(layer);
        return inner!.Attend(layer);
    }

    public void StartShared(int layer) => inner!.StartShared(layer);

    public Span<float> RoutedSum => inner!.RoutedSum;

    public void Finish(int layer) => inner!.Finish(layer);

    public void Logits(ReadOnlySpan<int> rows, Span<float> logits) => inner!.Logits(rows, logits);

    public int NonFiniteLayer(int row) => inner!.NonFiniteLayer(row);

    public void Dispose()
    {
    }
}
