// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>One turn at a time for each text. Safe to use from several threads.</summary>
internal sealed class TurnsByText
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Turn> _taken = new(StringComparer.Ordinal);

    /// <summary>Waits until nobody else has the turn of a text.</summary>
    /// <param name="text">What the turn is for.</param>
    /// <param name="cancellationToken">Ends the wait; a turn that is free is taken in any case.</param>
    /// <returns>The turn, to be disposed of at its end.</returns>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public IDisposable Enter(string text, CancellationToken cancellationToken)
    {
        while (true)
        {
            Turn? turn;
            lock (_gate)
            {
                if (!_taken.TryGetValue(text, out turn))
                {
                    turn = new Turn(this, text);
                    _taken.Add(text, turn);
                    return turn;
                }
            }

            turn.End.Wait(cancellationToken);
        }
    }

    private sealed class Turn(TurnsByText turns, string text) : IDisposable
    {
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task End => _end.Task;

        public void Dispose()
        {
            lock (turns._gate)
            {
                turns._taken.Remove(text);
            }

            _end.SetResult();
        }
    }
}
