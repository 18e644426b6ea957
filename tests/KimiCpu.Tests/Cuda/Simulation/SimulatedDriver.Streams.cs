// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>The functions of streams and events.</summary>
internal sealed unsafe partial class SimulatedDriver
{
    [UnmanagedCallersOnly]
    private static CUResult StreamCreateWithPriority(nint* stream, uint flags, int priority) => Enter(
        d =>
        {
            *stream = d.Add(new SimulatedStream());
            return CUResult.Success;
        },
        "cuStreamCreateWithPriority");

    [UnmanagedCallersOnly]
    private static CUResult StreamDestroy(nint stream) => Release(d => d.Remove<SimulatedStream>(stream));

    [UnmanagedCallersOnly]
    private static CUResult StreamQuery(nint stream) => Enter(
        d =>
        {
            SimulatedStream s = d.Get<SimulatedStream>(stream);
            if (s.Recording is not null)
            {
                return CUResult.ErrorInvalidValue;
            }

            if (!d.Hangs && s.Pending.TryDequeue(out Action? work))
            {
                d.Run(work);
            }

            return s.Pending.Count == 0 ? CUResult.Success : CUResult.ErrorNotReady;
        },
        "cuStreamQuery");

    /// <summary>What a later recording of the event marks does not count.</summary>
    [UnmanagedCallersOnly]
    private static CUResult StreamWaitEvent(nint stream, nint handle, uint flags) => Enter(
        d => d.Get<SimulatedEvent>(handle).Mark is { } mark ? d.Put(stream, () => d.RunUntil(mark)) : CUResult.Success,
        "cuStreamWaitEvent");

    [UnmanagedCallersOnly]
    private static CUResult EventCreate(nint* handle, uint flags) => Enter(
        d =>
        {
            *handle = d.Add(new SimulatedEvent(timed: (flags & 2) == 0));
            return CUResult.Success;
        },
        "cuEventCreate");

    [UnmanagedCallersOnly]
    private static CUResult EventDestroy(nint handle) => Release(d => d.Remove<SimulatedEvent>(handle));

    [UnmanagedCallersOnly]
    private static CUResult EventRecord(nint handle, nint stream) => Enter(
        d =>
        {
            SimulatedEvent e = d.Get<SimulatedEvent>(handle);
            SimulatedStream put = d.Get<SimulatedStream>(stream);
            if (e.Timed && put.Recording is not null)
            {
                throw new PtxFault("a timed event is recorded into a graph, where the driver gives it no time");
            }

            var mark = new SimulatedMark(put);
            e.Mark = mark;
            return d.Put(stream, () => mark.Nanoseconds = d.Nanoseconds);
        },
        "cuEventRecord");

    [UnmanagedCallersOnly]
    private static CUResult EventQuery(nint handle) => Enter(
        d =>
        {
            SimulatedEvent e = d.Get<SimulatedEvent>(handle);
            if (e.Mark is { Nanoseconds: null } mark && !d.Hangs && mark.Stream.Pending.TryDequeue(out Action? work))
            {
                d.Run(work);
            }

            return e.Mark is { Nanoseconds: null } ? CUResult.ErrorNotReady : CUResult.Success;
        },
        "cuEventQuery");

    [UnmanagedCallersOnly]
    private static CUResult EventElapsedTime(float* milliseconds, nint from, nint to) => Enter(
        d =>
        {
            (SimulatedEvent first, SimulatedEvent last) = (d.Get<SimulatedEvent>(from), d.Get<SimulatedEvent>(to));
            if (!first.Timed || !last.Timed || first.Mark is null || last.Mark is null)
            {
                return CUResult.ErrorInvalidHandle;
            }

            if ((first.Mark.Nanoseconds, last.Mark.Nanoseconds) is not ({ } begin, { } end))
            {
                return CUResult.ErrorNotReady;
            }

            *milliseconds = (end - begin) / 1e6f;
            return CUResult.Success;
        },
        "cuEventElapsedTime");
}
