// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Server.Answers;

/// <summary>Streams that have nothing to say yet show that they are alive: a long prompt may take minutes, and clients and proxies give up connections that are silent.</summary>
internal static class StreamPauses
{
    /// <summary>The elements of a stream, and others where none comes for a while.</summary>
    /// <param name="source">The stream.</param>
    /// <param name="pause">Longest silence; <see cref="Timeout.InfiniteTimeSpan"/> for any.</param>
    /// <param name="makeFiller">Makes what says nothing.</param>
    public static async IAsyncEnumerable<T> FillingPauses<T>(this IAsyncEnumerable<T> source, TimeSpan pause, Func<T> makeFiller)
    {
        await using IAsyncEnumerator<T> elements = source.GetAsyncEnumerator(CancellationToken.None);
        while (true)
        {
            Task<bool> next = elements.MoveNextAsync().AsTask();
            try
            {
                while (!await HasEndedAsync(next, pause).ConfigureAwait(false))
                {
                    yield return makeFiller();
                }
            }
            finally
            {
                // Who stops reading between two fillers must not leave the source in the middle of a move. Its answer ends with the request.
                await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            if (!await next.ConfigureAwait(false))
            {
                yield break;
            }

            yield return elements.Current;
        }
    }

    private static async Task<bool> HasEndedAsync(Task task, TimeSpan pause)
    {
        if (task.IsCompleted)
        {
            return true;
        }

        using var timer = new CancellationTokenSource();
        bool ended = await Task.WhenAny(task, Task.Delay(pause, timer.Token)).ConfigureAwait(false) == task;
        await timer.CancelAsync().ConfigureAwait(false);
        return ended;
    }
}
