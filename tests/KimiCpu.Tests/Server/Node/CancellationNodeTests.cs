// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>Requests that a client for JavaScript gives up end in the model, while the client lives on.</summary>
[TestFixture]
internal sealed class CancellationNodeTests
{
    [TestCase("openai-cancel", "chat,responses")]
    [TestCase("anthropic-cancel", "streamed")]
    public async Task An_aborted_request_leaves_nothing_running(string script, string streams)
    {
        await NodePackages.RequireAsync();
        await using RunningServer server = await RunningServer.StartAsync();
        NodeReport seen = await NodeReport.OfAsync(script, server);
        foreach (string name in streams.Split(','))
        {
            Assert.That(seen[name].GetProperty("finished").GetBoolean(), Is.False, name);
            Assert.That((seen[name].Number("during"), seen[name].Number("after")), Is.EqualTo((1, 0)), name);
        }

        JsonElement whole = seen["whole"];
        Assert.That(whole.GetProperty("aborted").GetBoolean(), Is.True);
        Assert.That((whole.Number("during"), whole.Number("after")), Is.EqualTo((1, 0)));
        Assert.That(seen["next"].Text("text"), Does.Contain("Paris"));
        Assert.That(server.Log.Lines.Count(l => l.Contains("Answered:", StringComparison.Ordinal)), Is.EqualTo(1), "the model's answers to the others came to no end, however soon it would have been");
        Assert.That((server.Model.Activity.RunningCalls, server.Model.Activity.WaitingCalls), Is.EqualTo((0, 0)));
        server.ExpectNoLeak();
        Assert.That(server.Log.Lines, Has.None.StartsWith("Error"));
    }
}
