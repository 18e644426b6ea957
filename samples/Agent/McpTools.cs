// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.AI;
using ModelContextProtocol;
using ModelContextProtocol.Client;

namespace KimiCpu.Samples.Agent;

/// <summary>The tools of a Model Context Protocol server. Disposing ends the server.</summary>
public sealed class McpTools : IAsyncDisposable
{
    private readonly McpClient _client;

    private McpTools(McpClient client, IReadOnlyList<AIFunction> functions)
    {
        _client = client;
        Functions = functions;
    }

    /// <summary>Functions that call the server.</summary>
    public IReadOnlyList<AIFunction> Functions { get; }

    /// <summary>Starts a server as a process and asks for its tools.</summary>
    /// <param name="command">The program and its arguments; it speaks the protocol on its standard streams.</param>
    /// <param name="cancellationToken">Ends the start.</param>
    /// <exception cref="IOException">The program did not start, ended at once, or does not speak the protocol.</exception>
    public static async Task<McpTools> ConnectAsync(IReadOnlyList<string> command, CancellationToken cancellationToken = default)
    {
        var transport = new StdioClientTransport(new StdioClientTransportOptions { Name = command[0], Command = command[0], Arguments = [.. command.Skip(1)] });
        McpClient? client = null;
        try
        {
            client = await McpClient.CreateAsync(transport, cancellationToken: cancellationToken);
            IList<McpClientTool> tools = await client.ListToolsAsync(cancellationToken: cancellationToken);
            return new McpTools(client, [.. tools.Select(t => new McpFunction(t))]);
        }
        catch (Exception e)
        {
            await (client?.DisposeAsync() ?? ValueTask.CompletedTask);
            if (e is IOException or McpException or TimeoutException)
            {
                throw new IOException($"The MCP server '{string.Join(' ', command)}' cannot be used: {e.Message}", e);
            }

            throw;
        }
    }

    public ValueTask DisposeAsync() => _client.DisposeAsync();
}
