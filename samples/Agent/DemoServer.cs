// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ComponentModel;
using System.Reflection;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;

namespace KimiCpu.Samples.Agent;

/// <summary>A Model Context Protocol server on the standard streams, with a clock. <c>--mcp-demo</c> starts it as a process of its own.</summary>
public static class DemoServer
{
    /// <summary>Makes this program the server.</summary>
    public const string Option = "--mcp-server";

    /// <summary>Starts this program as the server.</summary>
    public static IReadOnlyList<string> Command => CommandOf(Environment.ProcessPath, Assembly.GetEntryAssembly() == typeof(DemoServer).Assembly);

    /// <summary>Starts this program as the server, also where there is no <c>dotnet</c> on the path.</summary>
    /// <param name="running">The program of this process: an executable of its own, or <c>dotnet</c> with an assembly.</param>
    /// <param name="isOwn">Whether it runs this assembly.</param>
    public static IReadOnlyList<string> CommandOf(string? running, bool isOwn)
    {
        bool isDotnet = Path.GetFileNameWithoutExtension(running) == "dotnet";
        return isOwn && running is not null && !isDotnet ? [running, Option] : [isDotnet ? running! : "dotnet", typeof(DemoServer).Assembly.Location, Option];
    }

    /// <summary>Serves until the client goes away.</summary>
    public static async Task RunAsync(CancellationToken cancellationToken = default)
    {
        var options = new McpServerOptions
        {
            ServerInfo = new Implementation { Name = "kimicpu-demo", Version = "1.0.0" },
            ToolCollection = [McpServerTool.Create(TimeIn, new McpServerToolCreateOptions { Name = "get_time", Description = "Get the current time in a city." })],
        };
        await using var transport = new StdioServerTransport(options);
        await using McpServer server = McpServer.Create(transport, options);
        await server.RunAsync(cancellationToken);
    }

    private static string TimeIn([Description("City name")] string city)
    {
        try
        {
            return WorldClock.TimeIn(city);
        }
        catch (ArgumentException e)
        {
            // Clients are told the messages of this exception only.
            throw new McpException(e.Message, e);
        }
    }
}
