// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace KimiCpu;

/// <summary>
/// Tells those who listen to <see cref="KimiTelemetry"/>. What a listener throws is its own affair and goes no further: the one who
/// measures may be the thread that runs all calls, and a call that has its answer keeps it.
/// </summary>
internal static class Listeners
{
    public static void Tell(Histogram<double> histogram, double value, in TagList tags)
    {
        try
        {
            histogram.Record(value, tags);
        }
        catch (Exception)
        {
            // There is nobody else to tell.
        }
    }

    public static void Tell(Counter<long> counter, long value, in TagList tags)
    {
        try
        {
            counter.Add(value, tags);
        }
        catch (Exception)
        {
            // As above.
        }
    }

    public static void Tell(UpDownCounter<long> counter, long value, in TagList tags)
    {
        try
        {
            counter.Add(value, tags);
        }
        catch (Exception)
        {
            // As above.
        }
    }

    /// <returns>Null where nobody listens, or a listener throws.</returns>
    public static Activity? Start(ActivitySource source, string name, in TagList tags, DateTimeOffset start)
    {
        try
        {
            return source.StartActivity(ActivityKind.Internal, tags: tags, startTime: start, name: name);
        }
        catch (Exception)
        {
            return null;
        }
    }

    public static void Stop(Activity? activity)
    {
        try
        {
            activity?.Dispose();
        }
        catch (Exception)
        {
            // As above.
        }
    }
}
