// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What a script saw, case by case.</summary>
/// <param name="cases">The line that it wrote.</param>
internal sealed class NodeReport(JsonElement cases)
{
    /// <summary>What a case saw; a failure of it is one of the test.</summary>
    public JsonElement this[string name]
    {
        get
        {
            JsonElement seen = cases.GetProperty(name);
            if (seen.ValueKind == JsonValueKind.Object && seen.TryGetProperty("failed", out JsonElement failure))
            {
                Assert.Fail($"{name}: {failure.GetString()}");
            }

            return seen;
        }
    }

    /// <summary>Runs a script against a server; skips the test where there is no Node.</summary>
    /// <param name="script">Its name, without the ending.</param>
    /// <param name="server">Whom it asks.</param>
    public static async Task<NodeReport> OfAsync(string script, RunningServer server)
    {
        string node = await NodePackages.RequireAsync();
        (int? exitCode, string output, string error) = await NodeProcess.RunAsync(node, NodePackages.Folder, TimeSpan.FromMinutes(5), $"{script}.mjs", server.Http.BaseAddress!.GetLeftPart(UriPartial.Authority));
        Assert.That(exitCode, Is.Zero, $"{script}.mjs:\n{output}\n{error}");
        return new NodeReport(JsonDocument.Parse(output).RootElement);
    }
}

/// <summary>Reads reports in few words.</summary>
internal static class NodeReportExtensions
{
    public static string? Text(this JsonElement seen, string name) => seen.GetProperty(name).GetString();

    public static int Number(this JsonElement seen, string name) => seen.GetProperty(name).GetInt32();

    public static string?[] Texts(this JsonElement seen, string name) => [.. seen.GetProperty(name).EnumerateArray().Select(e => e.GetString())];
}
