// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>Gives back what work of a stream may use, the last first, when that work is done.</summary>
internal sealed class GpuOwner(CudaContext context, CudaStream stream) : IDisposable
{
    private readonly Stack<IDisposable> _owned = [];

    public T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }

    public void Dispose()
    {
        // Where something failed or was cancelled, work may be left.
        try
        {
            if (!context.IsLost)
            {
                stream.Synchronize();
            }
        }
        catch (CudaException)
        {
            // Everything is given back all the same.
        }

        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }
}
