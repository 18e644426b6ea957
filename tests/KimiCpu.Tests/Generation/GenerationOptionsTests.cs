// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class GenerationOptionsTests
{
    private static readonly KimiTool s_tool = new("f");

    private static GenerationOptions Options(string stop = "a", int token = 1, float bias = -1) => new()
    {
        StopSequences = ["b", stop],
        StopTokens = [token],
        Tools = [s_tool],
        LogitBias = new Dictionary<int, float> { [3] = 0.5f, [token] = bias },
    };

    [Test]
    public void Options_of_the_same_values_are_equal()
    {
        GenerationOptions options = Options();
        Assert.That(Options(), Is.EqualTo(options));
        Assert.That(Options().GetHashCode(), Is.EqualTo(options.GetHashCode()));
        Assert.That(new GenerationOptions { StopSequences = [] }, Is.EqualTo(new GenerationOptions()));
        GenerationOptions[] others = [Options(stop: "c"), Options(token: 2), Options(bias: 2), Options() with { Tools = [] }, Options() with { LogitBias = null }, Options() with { StopSequences = null! }];
        Assert.That(others, Has.None.EqualTo(options));
    }

    [Test]
    public void Options_show_their_values()
    {
        string shown = Options().ToString();
        Assert.That(shown, Does.Contain("StopSequences = [b, a]").And.Contain("Tools = [f]").And.Contain("[3, 0.5]"));
        Assert.That(new GenerationOptions { StopTokens = [.. Enumerable.Range(0, 100)] }.ToString(), Does.Contain(" 15, … (100 in all)]"));
    }

    [Test]
    public void A_list_that_changes_later_changes_no_options()
    {
        List<string> stops = ["a"];
        var options = new GenerationOptions { StopSequences = stops };
        stops.Clear();
        Assert.That(options.StopSequences, Is.EqualTo(new[] { "a" }));
    }
}
