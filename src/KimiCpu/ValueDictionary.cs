// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.ObjectModel;

namespace KimiCpu;

/// <summary>A copy of a dictionary that is equal to others by its entries and shows them, as members of records are expected to.</summary>
internal sealed class ValueDictionary<TKey, TValue> : ReadOnlyDictionary<TKey, TValue>
    where TKey : notnull
{
    private ValueDictionary(IReadOnlyDictionary<TKey, TValue> entries)
        : base(new Dictionary<TKey, TValue>(entries))
    {
    }

    public static ValueDictionary<TKey, TValue>? Of(IReadOnlyDictionary<TKey, TValue>? entries) =>
        entries is null ? null : entries as ValueDictionary<TKey, TValue> ?? new ValueDictionary<TKey, TValue>(entries);

    public override bool Equals(object? obj) => obj is ValueDictionary<TKey, TValue> other
        && Count == other.Count
        && this.All(e => other.TryGetValue(e.Key, out TValue? value) && EqualityComparer<TValue>.Default.Equals(e.Value, value));

    public override int GetHashCode() => this.Aggregate(0, (hash, entry) => hash ^ HashCode.Combine(entry.Key, entry.Value));

    public override string ToString() => ValueList<KeyValuePair<TKey, TValue>>.Of([.. this]).ToString()!;
}
