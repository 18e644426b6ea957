// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class CancellationSwitchTests
{
    [TestCase(ConsoleSpecialKey.ControlC, true, ExpectedResult = "goes on, stopped")]
    [TestCase(ConsoleSpecialKey.ControlC, false, ExpectedResult = "ends, saved")]
    [TestCase(ConsoleSpecialKey.ControlBreak, true, ExpectedResult = "ends, saved", Description = "There is always a key that ends the program.")]
    [TestCase(ConsoleSpecialKey.ControlBreak, false, ExpectedResult = "ends, saved")]
    public string Keys_stop_what_runs_or_end_the_program(ConsoleSpecialKey key, bool runs)
    {
        string done = "";
        using var cancellation = new CancellationSwitch { BeforeEnd = () => done += ", saved" };
        using CancellationTokenSource source = cancellation.Begin();
        source.Token.Register(() => done += ", stopped");
        if (!runs)
        {
            cancellation.End();
        }

        return (cancellation.Press(key) ? "goes on" : "ends") + done;
    }
}
