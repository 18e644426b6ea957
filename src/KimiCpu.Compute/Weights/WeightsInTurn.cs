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
    private readonly List<WeightMatrix> _held = [];
    private readonly CancellationTokenSource _ended = new();
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
            CancellationToken ended = _ended.Token;

            // Where a GPU was lost, the application's threads that hold all of .NET's pool wait for the one that waits here.
            _reads[_begun] = OwnThread.Run("kimi-weights", () =>
            {
                _residence.Hold(weight, ended);
                return weight;
            });
        }

        _reads[_taken].GetAwaiter().GetResult();
        _held.Add(_weights[_taken++]);
    }

    /// <summary>For a weight that was taken and that nobody reads any more.</summary>
    public unsafe void LetGo(WeightMatrix weight)
    {
        if (_residence is not null && _held.FindIndex(w => w.Data == weight.Data) is >= 0 and int place)
        {
            _held.RemoveAt(place);
            _residence.LetGo(weight);
        }
    }

    /// <summary>Leaves what was taken and not let go to whoever uses it from here on.</summary>
    public void Keep() => _held.Clear();

    /// <summary>Lets go what was read and not taken, and what was taken and neither let go nor kept.</summary>
    public void Dispose()
    {
        _ended.Cancel();
        for (; _taken < _begun; _taken++)
        {
            Task read = _reads[_taken];
            ((IAsyncResult)read).AsyncWaitHandle.WaitOne();

            // Whoever stopped taking knows why it failed.
            _ = read.Exception;
            if (read.IsCompletedSuccessfully)
            {
                _held.Add(_weights[_taken]);
            }
        }

        _held.ForEach(w => _residence!.LetGo(w));
        _held.Clear();
        _ended.Dispose();
    }
}
