// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Server.Node;

/// <summary>A server, one run of a script against it, and what its model answers without a server between.</summary>
/// <param name="script">Its name, without the ending.</param>
internal abstract class NodeFixture(string script)
{
    private RunningServer? _server;

    protected NodeReport Seen { get; private set; } = null!;

    /// <summary>The greedy answer to "What is the capital of France?".</summary>
    protected GenerationResult Expected { get; private set; } = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        await NodePackages.RequireAsync();
        _server = await RunningServer.StartAsync();
        Expected = _server.Model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 });
        Seen = await NodeReport.OfAsync(script, _server);
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        if (_server is not null)
        {
            await using (_server)
            {
                _server.ExpectNoLeak();
            }
        }
    }
}
