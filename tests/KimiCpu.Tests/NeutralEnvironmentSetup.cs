// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net;

namespace KimiCpu.Tests;

/// <summary>What the account and the shell of whoever runs the tests have set changes nothing, and nothing is left with them.</summary>
[SetUpFixture]
internal sealed class NeutralEnvironmentSetup
{
    private const string DataFolder = "XDG_DATA_HOME";

    /// <summary>Of variables that the library reads, and OpenTelemetry, which would record nothing of what tests look for.</summary>
    private static readonly string[] s_prefixes = ["KIMI_", "OTEL_"];

    private string _folder = "";

    [OneTimeSetUp]
    public void Set()
    {
        // Of .NET's variables for proxies none leaves this machine's own addresses out by itself.
        HttpClient.DefaultProxy = new WebProxy();
        foreach (string name in Environment.GetEnvironmentVariables().Keys.Cast<string>().Where(n => s_prefixes.Any(p => n.StartsWith(p, StringComparison.OrdinalIgnoreCase))))
        {
            Environment.SetEnvironmentVariable(name, null);
        }

        // What models remember, of which the next run would begin otherwise. Windows has no such variable.
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        Environment.SetEnvironmentVariable(DataFolder, _folder);
    }

    [OneTimeTearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);
}
