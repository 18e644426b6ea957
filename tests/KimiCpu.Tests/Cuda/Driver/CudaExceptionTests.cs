// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Driver;

/// <summary>What an error advises, where the driver's call fails that has it on real machines.</summary>
[TestFixture]
internal sealed class CudaExceptionTests
{
    [TestCase("cuInit", 34, "stub")]
    [TestCase("cuDevicePrimaryCtxRetain", 46, "compute mode")]
    [TestCase("cuInit", 100, "CUDA_VISIBLE_DEVICES")]
    [TestCase("cuDevicePrimaryCtxRetain", 102, "vGPU")]
    [TestCase("cuModuleLoadDataEx", 209, "CUDA_DISABLE_PTX_JIT")]
    [TestCase("cuModuleLoadDataEx", 223, "CUDA_DISABLE_PTX_JIT")]
    [TestCase("cuInit", 304, "seccomp")]
    [TestCase("cuInit", 800, "security profile")]
    [TestCase("cuMemHostAlloc", 801, "profile")]
    [TestCase("cuInit", 802, "nvidia-fabricmanager")]
    [TestCase("cuInit", 803, "restart the machine")]
    [TestCase("cuInit", 804, "cuda-compat")]
    [TestCase("cuInit", 805, "CUDA_MPS_PIPE_DIRECTORY")]
    [TestCase("cuInit", 807, "CUDA_MPS_PIPE_DIRECTORY")]
    [TestCase("cuInit", 808, "CUDA_MPS_PIPE_DIRECTORY")]
    [TestCase("cuInit", 999, "nvidia-smi")]
    [TestCase("cuMemAlloc", 2, "lower KvCacheBytes")]
    [TestCase("cuMemHostAlloc", 2, "main memory")]
    [TestCase("cuMemHostAlloc", 304, "main memory")]
    [TestCase("cuMemHostAlloc", 208, "lower KvCacheBytes or PrefillChunk, free main memory")]
    [TestCase("cuMemHostAlloc", 600, "start that anew")]
    [TestCase("cuMemAlloc", 600, "in WSL 2 a GPU gives less than it calls free: lower KvCacheBytes")]
    public void An_error_of_the_setting_up_says_what_to_do(string function, int code, string advice)
    {
        using var driver = new SimulatedDriver { FailingFunction = function, Failure = (CUResult)code };
        CudaException error = Assert.Throws<CudaException>(() => Open(driver))!;
        Assert.That(error.Message, Does.StartWith($"{function} failed with CUDA error {code} (").And.Contain(advice));
        Assert.That(error.Message, Does.Not.Contain("report it").And.Not.Contain("any more"));
        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    /// <summary>Which memory it is, GPU or main, decides what helps.</summary>
    [Test]
    public void Memory_of_one_kind_is_not_taken_for_that_of_the_other()
    {
        Assert.That(CUResult.ErrorOutOfMemory.Advice("cuMemHostAlloc", chargesLocked: false), Does.Contain("main memory").And.Not.Contain("KvCacheBytes"));
        Assert.That(CUResult.ErrorOutOfMemory.Advice("cuMemHostAlloc", chargesLocked: true), Does.Contain("main memory").And.Contain("counts against the GPU's").And.Contain("KvCacheBytes"));
        Assert.That(new CudaException(CUResult.ErrorOutOfMemory, "cuMemAlloc", "").Message, Does.Contain("GPU memory").And.Not.Contain("main memory"));
    }

    /// <summary>NVIDIA's driver does not ask the limit of locked memory.</summary>
    [Test]
    public void No_limit_is_named_that_the_driver_does_not_ask([Values(2, 208, 304, 600)] int code, [Values] bool chargesLocked) =>
        Assert.That(((CUResult)code).Advice("cuMemHostAlloc", chargesLocked), Does.Not.Contain("ulimit"));

    [Test]
    public void Other_errors_are_the_librarys() =>
        Assert.That(new CudaException(CUResult.ErrorInvalidValue, "cuMemAlloc", "").Message, Does.Contain("please report it"));

    private static void Open(SimulatedDriver driver)
    {
        using var context = new CudaContext(driver.Table, 0);
        using var module = new CudaModule(context, ".version 7.4\n.target sm_80\n.address_size 64\n\0"u8);
        using var device = new CudaDeviceVariable<int>(context, 1);
        using var host = new CudaPageLockedHostMemory<int>(context, 1);
    }
}
