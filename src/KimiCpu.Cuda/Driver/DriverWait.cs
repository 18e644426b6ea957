// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>Waits that end: when the GPU is done, fails, or has not answered for too long.</summary>
internal static class DriverWait
{
    /// <param name="context">The GPU, lost where it is not done in time.</param>
    /// <param name="isDone">Asks the driver.</param>
    /// <param name="what">Is waited for, as in "has not finished its work".</param>
    /// <exception cref="GpuLostException">It is not done within <see cref="CudaContext.Patience"/>.</exception>
    public static void Until(CudaContext context, Func<bool> isDone, string what)
    {
        var time = new WaitedTime();
        var spin = new SpinWait();
        while (!isDone())
        {
            if (time.Look() > context.Patience)
            {
                throw context.GiveUp(what);
            }

            spin.SpinOnce(sleep1Threshold: -1);
        }
    }
}
