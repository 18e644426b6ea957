// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Driver;

[TestFixture]
internal sealed class CallersContextTests
{
    private const string Exchange = "cuThreadExchangeStreamCaptureMode";

    /// <summary>As where the context that was current has been given back since: the driver knows none, and its error is about that one alone.</summary>
    [Test]
    public void The_mode_comes_back_also_where_it_only_can_behind_the_context()
    {
        const nint Applications = 64;
        using var driver = new SimulatedDriver { ContextOfThread = Applications };
        using (new CallersContext(driver.Table))
        {
            Assert.That(driver.ModeOfThread, Is.EqualTo(CaptureMode.ThreadLocal));
            driver.FailingFunction = Exchange;
        }

        Assert.That((driver.ContextOfThread, driver.ModeOfThread), Is.EqualTo((Applications, CaptureMode.Global)));
        Assert.That(driver.Sequence, Is.EqualTo(new[] { "cuCtxGetCurrent", Exchange, Exchange, "cuCtxSetCurrent", Exchange }));
        driver.ContextOfThread = 0;
    }
}
