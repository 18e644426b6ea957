// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class ChatLineTests
{
    [TestCase("/reset")]
    [TestCase("  /think on ")]
    [TestCase("/nonsense and more")]
    [TestCase("/сброс")]
    [TestCase("/?")]
    [TestCase("/exit.")]
    [TestCase("/think=off ")]
    [TestCase("/re-set")]
    public void A_slash_and_a_word_are_a_command(string line) => Assert.That(ChatLine.IsCommand(line), Is.True);

    [TestCase("Who are you?", "Who are you?")]
    [TestCase("/etc/fstab: what is the sixth field?", "/etc/fstab: what is the sixth field?")]
    [TestCase("/usr: what is it?", "/usr: what is it?")]
    [TestCase("/", "/")]
    [TestCase("/ what is this?", "/ what is this?")]
    [TestCase("// TODO: what is left?", "// TODO: what is left?")]
    [TestCase("//server/share is what?", "//server/share is what?")]
    [TestCase("//usr is what?", "/usr is what?")]
    [TestCase(" //reset", " /reset")]
    [TestCase("///usr", "//usr")]
    [TestCase("//?", "/?")]
    [TestCase("/usr/lib", "/usr/lib")]
    [TestCase("/? is what?", "/? is what?")]
    public void Everything_else_is_a_question(string line, string question) =>
        Assert.That((ChatLine.IsCommand(line), ChatLine.Question(line)), Is.EqualTo((false, question)));
}
