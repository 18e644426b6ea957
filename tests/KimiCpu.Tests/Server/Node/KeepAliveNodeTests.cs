// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What fills the pauses of a stream is nothing to the official clients for JavaScript, however often it comes.</summary>
[TestFixture]
internal sealed class KeepAliveNodeTests
{
    private NodeReport _seen = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        await NodePackages.RequireAsync();
        await using RunningServer server = await RunningServer.StartAsync(
            o => o.StreamKeepAlive = TimeSpan.FromMilliseconds(1), m => (m.ContextLength, m.PrefixCaching, m.Threads) = (8192, false, 1));
        _seen = await NodeReport.OfAsync("keep-alive", server);
    }

    [Test]
    public void Responses_that_say_again_that_they_are_in_progress()
    {
        JsonElement seen = _seen["responses"];
        Assert.That(seen.Number("running"), Is.GreaterThan(3));
        Assert.That((seen.Text("text"), seen.Text("final"), seen.Text("instructions")), Is.EqualTo((seen.Text("whole"), seen.Text("whole"), "Be brief.")));
        Assert.That(seen.Text("whole"), Is.Not.Empty);
        int[] numbers = [.. seen.GetProperty("numbers").EnumerateArray().Select(n => n.GetInt32())];
        Assert.That(numbers, Is.EqualTo(Enumerable.Range(0, numbers.Length)));
    }

    /// <summary>Some of the client's versions take the response of any event as all that there is, and gave up when the next piece was of an item that it did not have.</summary>
    [Test]
    [CancelAfter(300_000)]
    public async Task Responses_that_pause_within_their_items_and_between(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var answer = new PausingAnswer(model, cancellationToken);
        await using RunningServer server = await answer.ServeAsync();
        NodeReport seen = await NodeReport.OfAsync("keep-alive-answer", server);
        answer.End();
        Assert.Multiple(() =>
        {
            foreach (string how in new[] { "streamed", "accumulated", "streamedEarlier", "accumulatedEarlier" })
            {
                Assert.That(seen[how].Texts("said"), Is.EqualTo(new[] { PausingAnswer.Reasoning, PausingAnswer.Text, PausingAnswer.Arguments }), how);
            }
        });
    }

    [Test]
    public void Messages_with_pings_between()
    {
        JsonElement seen = _seen["messages"];
        Assert.That(seen.Text("text"), Is.EqualTo(seen.Text("whole")).And.Not.Empty);
    }
}
