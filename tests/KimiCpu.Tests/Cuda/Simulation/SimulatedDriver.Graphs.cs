// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>The functions of recordings.</summary>
internal sealed unsafe partial class SimulatedDriver
{
    [UnmanagedCallersOnly]
    private static CUResult ThreadExchangeStreamCaptureMode(CaptureMode* mode) => Enter(
        d =>
        {
            (d.ModeOfThread, *mode) = (*mode, d.ModeOfThread);
            return CUResult.Success;
        },
        "cuThreadExchangeStreamCaptureMode",
        needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult StreamBeginCapture(nint stream, CaptureMode mode) => Enter(
        d =>
        {
            if (mode == CaptureMode.Global)
            {
                throw new PtxFault("what is recorded is broken by calls of other threads");
            }

            d.Get<SimulatedStream>(stream).Recording = new Queue<Action>();
            return CUResult.Success;
        },
        "cuStreamBeginCapture");

    [UnmanagedCallersOnly]
    private static CUResult StreamEndCapture(nint stream, nint* graph) => Enter(
        d =>
        {
            SimulatedStream s = d.Get<SimulatedStream>(stream);
            *graph = d.Add(new SimulatedGraph([.. s.Recording!]));
            s.Recording = null;
            return CUResult.Success;
        },
        "cuStreamEndCapture");

    [UnmanagedCallersOnly]
    private static CUResult GraphInstantiateWithFlags(nint* exec, nint graph, ulong flags) => Enter(
        d =>
        {
            if (d.TakenOfGpu + d.GraphBytes > d.BytesOfGpu - d.TakenBytes)
            {
                return CUResult.ErrorOutOfMemory;
            }

            *exec = d.Add(new SimulatedGraphExec(d.Get<SimulatedGraph>(graph).Work, d.GraphBytes));
            d.DeviceBytes += d.GraphBytes;
            return CUResult.Success;
        },
        "cuGraphInstantiateWithFlags");

    [UnmanagedCallersOnly]
    private static CUResult GraphLaunch(nint exec, nint stream) => Enter(
        d =>
        {
            foreach (Action work in d.Get<SimulatedGraphExec>(exec).Work)
            {
                d.Put(stream, work);
            }

            return CUResult.Success;
        },
        "cuGraphLaunch");

    [UnmanagedCallersOnly]
    private static CUResult GraphExecDestroy(nint exec) => Release(d =>
    {
        d.DeviceBytes -= d._handles.GetValueOrDefault(exec) is SimulatedGraphExec found ? found.Bytes : 0;
        return d.Remove<SimulatedGraphExec>(exec);
    });

    [UnmanagedCallersOnly]
    private static CUResult GraphDestroy(nint graph) => Release(d => d.Remove<SimulatedGraph>(graph), waits: false, needsContext: false);
}
