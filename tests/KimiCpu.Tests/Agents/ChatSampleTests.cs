// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Samples.Agent;
using KimiCpu.Samples.Chat;

namespace KimiCpu.Tests.Agents;

/// <summary>The command lines of both samples, and the chat as a program.</summary>
[TestFixture]
internal sealed class ChatSampleTests
{
    [TestCase("--seed takes a whole number from ", "--seed", "abc")]
    [TestCase("--temperature takes a number from 0 to 100; found 'NaN'.", "--temperature", "NaN")]
    [TestCase("--temperature takes a number from 0 to 100; found '-1'.", "--temperature", "-1")]
    [TestCase("--temperature takes a number from 0 to 100; found '1e9'.", "--temperature", "1e9")]
    [TestCase("There is no option bogus.", "bogus")]
    [TestCase("--seed needs a value.", "--seed")]
    public void Mistakes_name_their_option(string expected, params string[] args)
    {
        Assert.That(() => ChatArguments.Parse(args), Throws.TypeOf<FormatException>().With.Message.StartsWith(expected));
        Assert.That(() => AgentArguments.Parse(args), Throws.TypeOf<FormatException>().With.Message.StartsWith(expected));
    }

    [Test]
    public void Options_are_read_and_listed()
    {
        var chat = ChatArguments.Parse(["--model", "m", "--seed", "7", "--temperature", "0.5", "--system", "s"]);
        Assert.That((chat.Model, chat.System, chat.Options.Seed, chat.Options.Temperature, chat.AsksForHelp), Is.EqualTo(("m", "s", (ulong?)7, 0.5f, false)));
        Assert.That(ChatArguments.Parse(["--help"]).AsksForHelp && AgentArguments.Parse(["--help"]).AsksForHelp);
    }

    [Test]
    [Platform("Linux", Reason = "The full device is Linux's.")]
    [CancelAfter(60_000)]
    public async Task An_answer_that_cannot_be_written_ends_the_chat_with_a_sentence(CancellationToken cancellationToken)
    {
        string program = typeof(ChatArguments).Assembly.Location;
        var start = new ProcessStartInfo("sh", ["-c", $"exec dotnet '{program}' > /dev/full"]) { RedirectStandardInput = true, RedirectStandardError = true };
        using Process chat = Process.Start(start)!;
        try
        {
            await chat.StandardInput.WriteLineAsync("Hi");
            chat.StandardInput.Close();
            string error = await chat.StandardError.ReadToEndAsync(cancellationToken);
            await chat.WaitForExitAsync(cancellationToken);
            Assert.That(chat.ExitCode, Is.EqualTo(1));
            Assert.That(error.TrimEnd(), Is.Not.Empty.And.Not.Contain("\n").And.Not.Contain("Exception"));
        }
        finally
        {
            chat.Kill();
        }
    }
}
