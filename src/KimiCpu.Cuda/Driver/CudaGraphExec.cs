// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>Work that was recorded once and is launched as a whole.</summary>
internal sealed unsafe class CudaGraphExec : IDisposable
{
    private readonly CudaContext _context;
    private nint _handle;

    private CudaGraphExec(CudaContext context, nint handle) => (_context, _handle) = (context, handle);

    /// <summary>Records what an action puts into a stream, instead of running it.</summary>
    public static CudaGraphExec Capture(CudaContext context, CudaStream stream, Action record)
    {
        context.Check(context.Driver.StreamBeginCapture(stream.Handle, CaptureMode.ThreadLocal));
        nint graph = 0;
        try
        {
            record();
        }
        catch
        {
            // The stream is unusable until the recording has ended.
            context.Release(context.Driver.StreamEndCapture(stream.Handle, &graph));
            if (graph != 0)
            {
                context.Release(context.Driver.GraphDestroy(graph));
            }

            throw;
        }

        context.Check(context.Driver.StreamEndCapture(stream.Handle, &graph));
        nint handle = 0;
        try
        {
            context.Check(context.Driver.GraphInstantiateWithFlags(&handle, graph, 0));
        }
        finally
        {
            context.Release(context.Driver.GraphDestroy(graph));
        }

        return new CudaGraphExec(context, handle);
    }

    public void Launch(CudaStream stream) =>
        _context.Check(_context.Driver.GraphLaunch(_handle != 0 ? _handle : throw new ObjectDisposedException(nameof(CudaGraphExec)), stream.Handle));

    public void Dispose()
    {
        if (_handle != 0 && _context.MayRelease)
        {
            _context.Release(_context.Driver.GraphExecDestroy(_handle));
        }

        _handle = 0;
    }
}
