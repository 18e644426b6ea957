// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Driver;

/// <summary>The binding's checks and messages, over the simulated driver.</summary>
[TestFixture]
internal sealed class CudaContextTests
{
    [Test]
    public void A_driver_that_lacks_a_function_is_too_old() =>
        Assert.That(() => DriverTable.From(name => name == "cuGraphLaunch" ? 0 : 1), Throws.TypeOf<CudaException>().With.Message.Contains("cuGraphLaunch").And.Message.Contains("525"));

    [Test]
    public void Every_function_of_the_table_is_filled()
    {
        int asked = 0;
        DriverTable.From(_ => ++asked);
        Assert.That(asked, Is.EqualTo(typeof(DriverTable).GetFields().Length));
    }

    /// <summary>A program's current directory may hold files of strangers, where Windows looks for libraries too.</summary>
    [Test]
    [Platform("Win")]
    public void A_library_in_the_current_directory_is_no_driver()
    {
        string name = $"{Guid.NewGuid():N}.dll";
        File.Copy(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "System.IO.Compression.Native.dll"), Path.GetFullPath(name));
        try
        {
            Assert.That(DriverTable.TryLoad(name, out _), Is.False);
            Assert.That(NativeLibrary.TryLoad(name, out nint handle), "it could be loaded from there");
            NativeLibrary.Free(handle);
        }
        finally
        {
            File.Delete(Path.GetFullPath(name));
        }
    }

    [Test]
    public void What_a_GPU_or_driver_lacks_is_said_before_anything_is_made()
    {
        Assert.That(() => Open(new SimulatedDriver { Version = 11030 }), Throws.TypeOf<CudaException>().With.Message.Contains("CUDA 11.3; 11.4"));
        Assert.That(() => Open(new SimulatedDriver { ComputeCapability = (7, 5) }), Throws.TypeOf<CudaException>().With.Message.Contains("compute capability 7.5; 8.0"));
        Assert.That(() => Open(new SimulatedDriver { DeviceCount = 0 }), Throws.TypeOf<CudaException>().With.Message.Contains("CUDA_VISIBLE_DEVICES"));
        Assert.That(() => Open(new SimulatedDriver { DeviceCount = 2 }, ordinal: 2), Throws.TypeOf<CudaException>().With.Message.Contains("GPU 2 does not exist; there are 2"));
        Assert.That(() => Open(new SimulatedDriver { FailingFunction = "cuInit", Failure = CUResult.ErrorNoDevice }), Throws.TypeOf<CudaException>().With.Message.Contains("cuInit failed with CUDA error 100"));

        static void Open(SimulatedDriver driver, int ordinal = 0)
        {
            using (driver)
            {
                try
                {
                    new CudaContext(driver.Table, ordinal).Dispose();
                }
                finally
                {
                    Assert.That(driver.LiveObjects, Is.Zero);
                }
            }
        }
    }

    [Test]
    public void A_module_that_is_not_understood_brings_the_translators_words()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        Assert.That(() => new CudaModule(context, ".version 7.4\nnonsense\0"u8), Throws.TypeOf<CudaException>().With.Message.Contains("The translator said: line 2: `nonsense`"));
    }

    /// <summary>It need not end in a zero byte then.</summary>
    [Test]
    public void A_translator_that_fills_its_log_is_heard()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        byte[] nonsense = [.. ".version 7.4\n"u8, .. Enumerable.Repeat((byte)'n', 10_000), 0];
        Assert.That(() => new CudaModule(context, nonsense), Throws.TypeOf<CudaException>().With.Message.Contains("The translator said: line 2: `nnn"));
    }

    /// <summary>The copy reads its source when it runs, not when it is asked for.</summary>
    [Test]
    public unsafe void Streams_are_lazy_and_recordings_run_when_they_are_launched()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        using var stream = new CudaStream(context);
        using var host = new CudaPageLockedHostMemory<int>(context, 2);
        using var device = new CudaDeviceVariable<int>(context, 1);
        using CudaGraphExec graph = CudaGraphExec.Capture(context, stream, () =>
        {
            stream.CopyToDevice(device.DevicePointer, host.Pointer, sizeof(int));
            stream.CopyToHost(host.Pointer + 1, device.DevicePointer, sizeof(int));
        });
        stream.Synchronize();
        Assert.That(host.Span[1], Is.Zero);
        host.Span[0] = 1;
        graph.Launch(stream);
        host.Span[0] = 2;
        Assert.That(stream.IsDone(), Is.False);
        stream.Synchronize();
        Assert.That(host.Span[1], Is.EqualTo(2));
    }

    [Test]
    public void Only_events_that_were_made_for_it_and_reached_have_times()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        using var stream = new CudaStream(context);
        using var plain = new CudaEvent(context);
        using var first = new CudaEvent(context, timed: true);
        using var second = new CudaEvent(context, timed: true);
        first.Record(stream);
        plain.Record(stream);
        stream.Synchronize();
        Assert.That(() => second.SecondsSince(first), Throws.TypeOf<CudaException>().With.Message.Contains("cuEventElapsedTime failed with CUDA error 400"));
        Assert.That(() => plain.SecondsSince(first), Throws.TypeOf<CudaException>().With.Message.Contains("error 400"));
        second.Record(stream);
        Assert.That(() => second.SecondsSince(first), Throws.TypeOf<CudaException>().With.Message.Contains("error 600"));
        second.Synchronize();
        Assert.That(second.SecondsSince(first), Is.EqualTo(2e-6).Within(1e-12));
    }

    /// <summary>The driver's own waits would never end, and what was handed out stays with the GPU, which may still write to it.</summary>
    [Test]
    public unsafe void A_GPU_that_does_not_answer_is_given_up_and_nothing_given_back()
    {
        using var driver = new SimulatedDriver();
        using (var context = new CudaContext(driver.Table, 0, TimeSpan.FromMilliseconds(20)))
        using (var stream = new CudaStream(context))
        using (var host = new CudaPageLockedHostMemory<int>(context, 1))
        using (var device = new CudaDeviceVariable<int>(context, 1))
        using (var copied = new CudaEvent(context))
        {
            driver.Hangs = true;
            stream.CopyToDevice(device.DevicePointer, host.Pointer, sizeof(int));
            copied.Record(stream);
            Assert.That(copied.Synchronize, Throws.TypeOf<GpuLostException>().With.Message.Contains("within 0.02 s"));
            Assert.That(stream.Synchronize, Throws.TypeOf<GpuLostException>().With.Message.Contains("within 0.02 s"));
            Assert.That(context.SetCurrent, Throws.TypeOf<GpuLostException>());
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((5, (string?)null)), "a context, a stream, an event, two allocations");
    }

    /// <summary>As by a debugger, or when a container is frozen: the GPU is not to blame.</summary>
    [Test]
    public void Time_in_which_the_process_was_stopped_does_not_count()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0, TimeSpan.FromMilliseconds(250));
        int looks = 0;
        DriverWait.Until(context, Done, "ended");
        Assert.That((looks, context.IsLost), Is.EqualTo((2, false)));

        bool Done()
        {
            Thread.Sleep(looks == 0 ? 400 : 0);
            return ++looks == 2;
        }
    }

    /// <summary>Errors after which the driver's manual has the process started again.</summary>
    [TestCase(214)]
    [TestCase(226)]
    [TestCase(700)]
    [TestCase(709)]
    [TestCase(719)]
    [TestCase(810)]
    public void Errors_that_stay_lose_the_GPU(int code)
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        (driver.FailingFunction, driver.Failure) = ("cuMemGetInfo", (CUResult)code);
        Assert.That(() => context.MemoryInfo(), Throws.TypeOf<GpuLostException>().With.Message.Contains($"CUDA error {code}"));
        Assert.That(context.IsLost);
    }

    /// <summary>Clean-up goes on without an exception, but the next use has the cause.</summary>
    [Test]
    public void An_error_that_stays_is_remembered_with_the_call_that_told_of_it_first()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        context.Release(CUResult.ErrorIllegalAddress, "_context.Driver.MemFree(pointer)");
        context.Release(CUResult.ErrorLaunchFailed, "_context.Driver.StreamDestroy(handle)");
        Assert.That(context.SetCurrent, Throws.TypeOf<GpuLostException>().With.Message.EqualTo(
            "Simulated GPU was lost by an earlier error: cuMemFree failed with CUDA error 700 (CUDA_ERROR_SIMULATED). This process cannot use the GPU any more."));
    }

    /// <summary>Models are opened, used and disposed by different threads.</summary>
    [Test]
    public void A_context_that_comes_back_is_made_current_anew()
    {
        using var driver = new SimulatedDriver();
        var first = new CudaContext(driver.Table, 0);
        var other = new Thread(first.Dispose);
        other.Start();
        other.Join();
        int before = driver.CallsOf["cuCtxSetCurrent"];
        using var second = new CudaContext(driver.Table, 0);
        Assert.That(driver.CallsOf["cuCtxSetCurrent"], Is.EqualTo(before + 1), "its handle is the same as before");
    }

    /// <summary>No context at all would be made current in its place, and the next call fail without saying why.</summary>
    [Test]
    public void A_context_that_was_given_back_says_so()
    {
        using var driver = new SimulatedDriver();
        var context = new CudaContext(driver.Table, 0);
        context.Dispose();
        int before = driver.Calls;
        Assert.That(context.SetCurrent, Throws.TypeOf<GpuLostException>().With.Message.Contains("given back"));
        Assert.That(driver.Calls, Is.EqualTo(before));
    }

    [Test]
    public void Copies_outside_an_allocation_lose_the_GPU()
    {
        using var driver = new SimulatedDriver();
        using var context = new CudaContext(driver.Table, 0);
        using var stream = new CudaStream(context);
        using var device = new CudaDeviceVariable<int>(context, 4);
        stream.Clear(device.DevicePointer, 17);
        Assert.That(stream.Synchronize, Throws.TypeOf<GpuLostException>().With.Message.Contains("cuStreamQuery"));
        Assert.That(context.IsLost);
        Assert.That(driver.Fault, Does.Contain("17 bytes"));
    }
}
