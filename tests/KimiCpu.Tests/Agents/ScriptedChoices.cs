// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections;

namespace KimiCpu.Tests.Agents;

/// <summary>
/// A <see cref="KimiCpu.Generation.GenerationOptions.LogitBias"/> that is another one for every token: at each place the model
/// chooses the likeliest of some tokens. After the last place it is free. The options' check looks at it once, the sampler
/// once a token; for one call of Generate.
/// </summary>
internal sealed class ScriptedChoices(IReadOnlyList<int[]> places) : IReadOnlyDictionary<int, float>
{
    /// <summary>Lifts above all other logits, and leaves the differences among those lifted.</summary>
    private const float Lift = 1000;

    private int _looks;

    public int Count => throw new NotSupportedException();

    public IEnumerable<int> Keys => throw new NotSupportedException();

    public IEnumerable<float> Values => throw new NotSupportedException();

    public float this[int key] => throw new NotSupportedException();

    public IEnumerator<KeyValuePair<int, float>> GetEnumerator()
    {
        int place = _looks++ - 1;
        int[] choices = place < 0 ? places.SelectMany(p => p).Distinct().ToArray() : place < places.Count ? places[place] : [];
        return choices.Select(token => KeyValuePair.Create(token, Lift)).GetEnumerator();
    }

    public bool ContainsKey(int key) => throw new NotSupportedException();

    public bool TryGetValue(int key, out float value) => throw new NotSupportedException();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
