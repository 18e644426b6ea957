// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Server.Answers;

namespace KimiCpu.Tests.Server.Answers;

[TestFixture]
internal sealed class SchemaTurnsTests
{
    [Test]
    public async Task Half_of_the_processors_prepare_at_once_and_who_needs_no_turn_does_not_wait()
    {
        int turns = Math.Max(1, Environment.ProcessorCount / 2);
        using var schemas = new SchemaTurns();
        var gate = new TaskCompletionSource();
        int begun = 0;
        Task<int>[] all = [.. Enumerable.Range(0, turns + 2).Select(i => schemas.RunAsync(
            needed: true,
            async () =>
            {
                Interlocked.Increment(ref begun);
                await gate.Task;
                return i;
            },
            CancellationToken.None))];
        Assert.That(Volatile.Read(ref begun), Is.EqualTo(turns));
        Assert.That(await schemas.RunAsync(needed: false, () => Task.FromResult(7), CancellationToken.None), Is.EqualTo(7));
        using var gone = new CancellationTokenSource();
        Task<int> waiting = schemas.RunAsync(needed: true, () => Task.FromResult(8), gone.Token);
        await gone.CancelAsync();
        Assert.That(async () => await waiting, Throws.InstanceOf<OperationCanceledException>());
        gate.SetResult();
        Assert.That(await Task.WhenAll(all), Is.EqualTo(Enumerable.Range(0, turns + 2)));
    }

    [Test]
    public async Task A_preparation_that_fails_gives_its_turn_back()
    {
        using var schemas = new SchemaTurns();
        for (int i = 0; i < Environment.ProcessorCount + 1; i++)
        {
            Assert.That(async () => await schemas.RunAsync<int>(needed: true, () => throw new FormatException(), CancellationToken.None), Throws.TypeOf<FormatException>());
        }

        Assert.That(await schemas.RunAsync(needed: true, () => Task.FromResult(1), CancellationToken.None), Is.EqualTo(1));
    }

    [TestCase("""{"messages":[],"response_format":{"type":"json_object"}}""", true)]
    [TestCase("""{"text":{"format":{"type":"json_schema"}}}""", true)]
    [TestCase("""{"format":{"type":"object"}}""", true)]
    [TestCase("""{"output_config":{"format":{}}}""", true)]
    [TestCase("""{"output_format":{"type":"json_schema"}}""", true)]
    [TestCase("""{"response_format":{}}""", true)]
    [TestCase("""{"format":{"type":"text"}}""", true)]
    [TestCase("""{"output_config":{"effort":"low"}}""", false)]
    [TestCase("""{"text":{"verbosity":"low"}}""", false)]
    [TestCase("""{"text":{"format":{"type":"text"}}}""", false)]
    [TestCase("""{"response_format":{"type":"text"}}""", false)]
    [TestCase("[]", false)]
    [TestCase("""{"messages":[],"format":"json"}""", false)]
    [TestCase("""{"messages":[{"response_format":{}}]}""", false)]
    public void Requests_with_formats_are_known(string body, bool expected) =>
        Assert.That(SchemaTurns.HasFormat(JsonElement.Parse(body)), Is.EqualTo(expected));
}
