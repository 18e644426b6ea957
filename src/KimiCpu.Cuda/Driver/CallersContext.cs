// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>
/// The context that a thread of the application has, which it has again in the end. An application may use CUDA too, and what it allocates goes to the GPU that is current on its
/// thread: that must not become a model's, nor one that is gone when the model is. So it is with how its calls concern what other threads record.
/// </summary>
internal readonly unsafe struct CallersContext : IDisposable
{
    private readonly delegate* unmanaged<nint, CUResult> _setCurrent;
    private readonly delegate* unmanaged<CaptureMode*, CUResult> _exchangeMode;
    private readonly nint _context;
    private readonly CaptureMode _mode;

    /// <param name="driver">Where it has not been initialized there is no context, and threads have the mode they begin with.</param>
    public CallersContext(in DriverTable driver)
    {
        nint context = 0;
        _context = driver.CtxGetCurrent(&context) == CUResult.Success ? context : 0;
        CaptureMode mode = CaptureMode.ThreadLocal;
        _mode = driver.ThreadExchangeStreamCaptureMode(&mode) == CUResult.Success ? mode : CaptureMode.Global;
        _setCurrent = driver.CtxSetCurrent;
        _exchangeMode = driver.ThreadExchangeStreamCaptureMode;
    }

    /// <summary>What fails here fails nobody's call: the application's next one has it.</summary>
    public void Dispose()
    {
        CaptureMode mode = _mode;
        bool isBack = _exchangeMode(&mode) == CUResult.Success;
        _setCurrent(_context);
        if (!isBack)
        {
            // The context that was current then may have been given back.
            mode = _mode;
            _exchangeMode(&mode);
        }
    }
}
