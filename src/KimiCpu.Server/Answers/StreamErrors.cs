// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Server.Answers;

/// <summary>Streams that have begun tell of their failure by themselves.</summary>
internal static class StreamErrors
{
    /// <summary>The elements of a stream; where it fails, in place of the rest what tells of it.</summary>
    /// <param name="source">The stream.</param>
    /// <param name="last">What tells of a failure.</param>
    /// <param name="isGone">Whether there is nobody left to tell.</param>
    public static async IAsyncEnumerable<T> EndingWith<T>(this IAsyncEnumerable<T> source, Func<Exception, IReadOnlyList<T>> last, Func<bool> isGone)
    {
        await using IAsyncEnumerator<T> elements = source.GetAsyncEnumerator(CancellationToken.None);
        while (true)
        {
            bool more;
            IReadOnlyList<T>? end = null;
            try
            {
                more = await elements.MoveNextAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (!isGone())
            {
                more = false;
                end = last(e);
            }

            if (!more)
            {
                foreach (T element in end ?? [])
                {
                    yield return element;
                }

                yield break;
            }

            yield return elements.Current;
        }
    }
}
