// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>A recording whose passes stay where it ends before its time: they are a shorter trace, and may have taken hours.</summary>
internal static class KeptRecording
{
    /// <param name="path">Of the trace.</param>
    /// <param name="writer">Into it.</param>
    /// <param name="record">Writes whole passes.</param>
    /// <param name="error">Told what is kept.</param>
    /// <exception cref="OperationCanceledException">The recording was cancelled.</exception>
    /// <exception cref="KimiException">The model cannot go on, as where a drive fails.</exception>
    /// <exception cref="OutOfMemoryException">There is no memory for a longer text.</exception>
    public static void Run(string path, RoutingTraceWriter writer, Action record, TextWriter error)
    {
        try
        {
            record();
        }
        catch (Exception e) when (writer.Passes > 0 && e is OperationCanceledException or KimiException or OutOfMemoryException)
        {
            writer.Finish();
            error.WriteLine($"What was recorded until then is in {path} ({writer.Passes} forward passes).");
            throw;
        }

        writer.Finish();
    }
}
