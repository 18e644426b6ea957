// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.RegularExpressions;
using KimiCpu.Cli;
using KimiCpu.Server;

namespace KimiCpu.Tests.Deploy;

/// <summary>What the files for services and containers have in common with the program.</summary>
[TestFixture]
internal sealed partial class DeployTests
{
    /// <summary>That long the server may take from a signal to its end.</summary>
    private static readonly TimeSpan s_end = new KimiServerOptions().ShutdownGrace + TimeSpan.FromSeconds(5);

    [Test]
    public void A_container_has_time_to_end_its_streams()
    {
        string[] runs = [.. File.ReadLines(Path.Combine(Repository.Root, "deploy", "Dockerfile")).Where(l => l.Contains("docker run", StringComparison.Ordinal))];
        Assert.That(runs, Is.Not.Empty);
        Assert.That(runs.Select(r => Seconds(StopTimeout(), r)), Has.All.GreaterThan(s_end));
    }

    /// <summary>Within it the server listens at all addresses, where every name is answered unless some are listed.</summary>
    [Test]
    public void A_container_that_this_machine_alone_reaches_answers_no_names_that_were_rebound()
    {
        string[] runs = [.. File.ReadLines(Path.Combine(Repository.Root, "deploy", "Dockerfile")).Where(l => l.Contains("-p 127.0.0.1:", StringComparison.Ordinal))];
        Assert.That(runs, Has.Length.EqualTo(2).And.All.Contains(" -e KIMI_SERVER__ALLOWEDHOSTS__0=localhost "));
    }

    /// <summary>Else its first token takes a second more than that of the packages.</summary>
    [Test]
    public void A_container_has_machine_code() =>
        Assert.That(File.ReadLines(Path.Combine(Repository.Root, "deploy", "Dockerfile")).Single(l => l.StartsWith("RUN dotnet publish ", StringComparison.Ordinal)), Does.Contain(" -p:PublishReadyToRun=true ").And.Contain(" --use-current-runtime "));

    [Test]
    public void A_service_has_time_to_end_its_streams_and_does_not_start_again_what_is_configured_wrongly()
    {
        string unit = File.ReadAllText(Path.Combine(Repository.Root, "deploy", "kimi.service"));
        Assert.That(Seconds(TimeoutStop(), unit), Is.GreaterThan(s_end));
        Assert.That(unit, Does.Contain($"RestartPreventExitStatus={KimiCommand.Usage}\n"));
        double restart = Seconds(Restart(), unit).TotalSeconds;
        Assert.That(restart * int.Parse(Burst().Match(unit).Groups[1].Value, CultureInfo.InvariantCulture), Is.LessThan(TimeSpan.FromMinutes(10).TotalSeconds), "so often within the interval, or the limit is never met");
        Assert.That(unit, Does.Contain("StartLimitIntervalSec=10min\n"));
    }

    private static TimeSpan Seconds(Regex setting, string text) =>
        setting.Match(text) is { Success: true } match ? TimeSpan.FromSeconds(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)) : TimeSpan.Zero;

    [GeneratedRegex(@"--stop-timeout (\d+) ")]
    private static partial Regex StopTimeout();

    [GeneratedRegex(@"^TimeoutStopSec=(\d+)$", RegexOptions.Multiline)]
    private static partial Regex TimeoutStop();

    [GeneratedRegex(@"^RestartSec=(\d+)$", RegexOptions.Multiline)]
    private static partial Regex Restart();

    [GeneratedRegex(@"^StartLimitBurst=(\d+)$", RegexOptions.Multiline)]
    private static partial Regex Burst();
}
