// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class TerminalColoursTests
{
    [TestCase(null, "xterm-256color", null, ExpectedResult = true)]
    [TestCase("", "linux", null, ExpectedResult = true)]
    [TestCase("1", "xterm-256color", null, ExpectedResult = false)]
    [TestCase(null, "dumb", null, ExpectedResult = false)]
    [TestCase(null, "", null, ExpectedResult = false)]
    [TestCase(null, null, null, ExpectedResult = false)]
    [TestCase(null, null, true, ExpectedResult = true)]
    [TestCase(null, null, false, ExpectedResult = false)]
    [TestCase("1", null, true, ExpectedResult = false)]
    public bool Codes_are_written_where_they_are_understood_and_welcome(string? noColor, string? term, bool? console) =>
        TerminalColours.AreShown(noColor, term, console is { } understands ? () => understands : null);
}
