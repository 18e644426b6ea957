// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>Weights that somebody uses one after another, all of them: while one is used the next ones are read, since drives want several reads at a time.</summary>
internal sealed class WeightsInTurn : IDisposable
{
    private const int Ahead = 8;

    private readonly IWeightResidence? _residence;
    private readonly WeightMatrix[] _weights;
    private readonly Task[] _reads;
    private int _taken;
    private int _begun;

    /// <param name="residence">Null where all weights are there as they are.</param>
    /// <param name="weights">In the order of use.</param>
    public WeightsInTurn(IWeightResidence? residence, IEnumerable<WeightMatrix> weights)
    {
        _residence = residence;
        _weights = residence is null ? [] : [.. weights];
        _reads = new Task[_weights.Length];
    }

    /// <summary>Waits for the next weight, which is held from here on.</summary>
    /// <exception cref="Exception">Of <see cref="IWeightFiles.Failure"/>: a drive fails.</exception>
    public void Take()
    {
        if (_residence is null)
        {
            return;
        }

        for (; _begun < Math.Min(_weights.Length, _taken + 1 + Ahead); _begun++)
        {
            WeightMatrix weight = _weights[_begun];
            _reads[_begun] = Task.Run(() => _residence.Hold(weight));
        }

        _reads[_taken++].GetAwaiter().GetResult();
    }

    /// <summary>For a weight that was taken and that nobody reads any more.</summary>
    public void LetGo(WeightMatrix weight) => _residence?.LetGo(weight);

    /// <summary>Lets go what was read and not taken.</summary>
    public void Dispose()
    {
        for (; _taken < _begun; _taken++)
        {
            // Whoever stopped taking knows why.
            Task read = _reads[_taken];
            ((IAsyncResult)read).AsyncWaitHandle.WaitOne();
            if (read.IsCompletedSuccessfully)
            {
                _residence!.LetGo(_weights[_taken]);
            }
        }
    }
}
