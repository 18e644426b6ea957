// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using System.Xml.Linq;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class PlanCommandTests
{
    /// <summary>A whole machine, so that nothing is measured.</summary>
    private static readonly string[] s_machine = ["--ram", "256GB", "--ram-bandwidth", "90GB/s", "--nvme", "2x7GB/s", "--cores", "16", "--core-gops", "117", "--context", "32K"];

    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Nano_is_planned_on_this_machine()
    {
        (int code, string output, string error) = await Run("plan", "kimi-nano", "--json");
        Assert.That((code, error), Is.EqualTo((0, "")));
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("fits").GetBoolean(), Is.True);
        Assert.That(json.RootElement.GetProperty("resident_share").GetDouble(), Is.EqualTo(1));
        Assert.That(json.RootElement.GetProperty("machine").GetProperty("memory_bytes").GetProperty("origin").GetString(), Is.EqualTo("measured"));
        Assert.That(json.RootElement.GetProperty("first_token").EnumerateArray().Select(t => t.GetProperty("prompt_tokens").GetInt32()), Is.EqualTo(new[] { 128, 1024, 4096 }), "its context is 8K");
        (code, output, _) = await Run(["plan", "kimi-nano", .. s_machine]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("all experts in memory").And.Contain("decided by").And.Contain("routed experts"));
    }

    [Test]
    public async Task A_folder_is_planned_from_its_headers()
    {
        (int code, string output, _) = await Run(["plan", Repository.Checkpoint("tiny-int4"), .. s_machine]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("tiny-int4").And.Contain("INT4 g32"));
    }

    [Test]
    public async Task Json_of_a_machine_that_is_not_here_has_every_number()
    {
        string[] args = ["plan", "k2-thinking", .. s_machine, "--gpu", "24GB", "--watts", "450", "--price-per-kwh", "0.30", "--api-price", "2.5", "--json"];
        (int code, string output, string error) = await Run(args);
        Assert.That((code, error), Is.EqualTo((0, "")));
        using JsonDocument document = JsonDocument.Parse(output);
        JsonElement json = document.RootElement;
        Assert.That(json.GetProperty("routed_expert_bytes").GetDouble() / 1e9, Is.EqualTo(570.8).Within(0.1));
        Assert.That(json.GetProperty("machine").GetProperty("gpu").GetProperty("state").GetString(), Does.Contain("estimated from the design"));
        JsonElement decode = json.GetProperty("decode")[0];
        double[] rates = [.. new[] { "low", "likely", "high" }.Select(n => decode.GetProperty(n).GetProperty("tokens_per_second").GetDouble())];
        Assert.That(rates, Is.Ordered);
        Assert.That(rates, Is.All.InRange(1.2, 4));
        Assert.That(decode.GetProperty("likely").GetProperty("bound").GetString(), Is.EqualTo("drive"));
        Assert.That(json.GetProperty("first_token").GetArrayLength(), Is.EqualTo(4));
        Assert.That(json.GetProperty("upgrades")[0].GetProperty("decode_gain").GetDouble(), Is.GreaterThan(1.5));
        JsonElement cost = json.GetProperty("cost_per_million_output_tokens");
        Assert.That(cost.GetProperty("likely_rate").GetDouble(), Is.EqualTo(37.5 / rates[1]).Within(1e-6));
        Assert.That(cost.GetProperty("break_even_tokens_per_second").GetDouble(), Is.EqualTo(15).Within(1e-9));
        (_, output, _) = await Run([.. args[..^1]]);
        Assert.That(output, Does.Contain("breaks even at 15.0 tokens/s").And.Contain("estimated from the design"));
    }

    [Test]
    public async Task Chart_is_xml_with_the_whole_bar_and_the_machine_on_its_curve()
    {
        string file = Path.Combine(_folder, "plan.svg");
        Assert.That((await Run(["plan", "k2-thinking", .. s_machine, "--gpu", "24GB", "--chart", file])).Code, Is.Zero);
        var svg = XDocument.Load(file);
        double[] widths = [.. WithClass(svg, "part").Select(e => (double)e.Attribute("width")!)];
        Assert.That(widths.Sum(), Is.EqualTo(750).Within(0.1), "all parts together fill the bar");
        XElement dot = WithClass(svg, "machine").Single();
        (double X, double Y)[] curve = [.. ((string)WithClass(svg, "likely").Single().Attribute("points")!).Split(' ').Select(Point)];
        Assert.That(curve.Zip(curve.Skip(1), (less, more) => more.Y - less.Y), Is.All.LessThan(1), "more memory is never slower, but for what larger steps of prompts take of the GPU's");
        (double X, double Y) nearest = curve.MinBy(p => Math.Abs(p.X - (double)dot.Attribute("cx")!));
        Assert.That((double)dot.Attribute("cy")!, Is.EqualTo(nearest.Y).Within(4));
        Assert.That(svg.Descendants().Select(e => e.Value), Has.Some.Contains("256.0 GB, "));
    }

    [Test]
    public async Task What_does_not_fit_is_said_and_has_a_code_for_scripts()
    {
        (int code, string output, _) = await Run("plan", "k2-thinking", "--ram", "16GB", "--ram-bandwidth", "50GB/s", "--nvme", "3GB/s", "--cores", "8", "--core-gops", "100", "--chart", Path.Combine(_folder, "x.svg"));
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.Contain("It does not fit").And.Contain("makes it fit"));
        Assert.That(XDocument.Load(Path.Combine(_folder, "x.svg")).Root, Is.Not.Null);
    }

    [TestCase("a size in MB", "--ram", "256")]
    [TestCase("a size in MB", "--ram", "-1GB")]
    [TestCase("a rate in MB/s", "--ram-bandwidth", "90GB")]
    [TestCase("the rate of each drive", "--nvme", "0x7GB/s")]
    [TestCase("the rate of each drive", "--nvme", "2x")]
    [TestCase("a number of tokens", "--context", "32M")]
    [TestCase("a number of tokens", "--context", "0")]
    [TestCase("from 1 to 1024", "--cores", "0")]
    [TestCase("need --gpu", "--pcie", "25GB/s")]
    [TestCase("needs both --watts and --price-per-kwh", "--watts", "450")]
    [TestCase("a number above 0", "--core-gops", "-3")]
    [TestCase("a number above 0", "--watts", "1e308", "--price-per-kwh", "1e308")]
    [TestCase("a number above 0", "--api-price", "1e-300", "--watts", "5", "--price-per-kwh", "5")]
    [TestCase("found '-5GB'", "--gpu", "-5GB")]
    public async Task Mistakes_say_what_is_allowed(string expected, params string[] options)
    {
        (int code, string output, string error) = await Run(["plan", "kimi-nano", .. options]);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")));
        Assert.That(error, Does.Contain(expected).And.Contain(options[0][2..]));
    }

    [Test]
    public async Task An_unknown_model_lists_the_known_ones()
    {
        (int code, _, string error) = await Run("plan", "llama");
        Assert.That((code, error), Is.EqualTo((KimiCommand.Usage, error)));
        Assert.That(error, Does.Contain("Kimi-K2-Thinking").And.Contain("kimi-nano"));
    }

    [Test]
    public async Task A_context_beyond_the_model_is_told()
    {
        const string Notice = "--context is 999,999,999, but the model has 262,144 positions: the context has those.";
        string[] machine = [.. s_machine[..^1], "999999999"];
        (_, string output, string error) = await Run(["plan", "k2-thinking", .. machine]);
        Assert.That((error, output), Is.EqualTo((Notice + Environment.NewLine, output)));
        Assert.That(output, Does.Contain("room for 256K tokens"));
        (_, output, _) = await Run(["plan", "k2-thinking", .. machine, "--json"]);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("context_length").GetInt32(), Is.EqualTo(262_144));
        Assert.That(json.RootElement.GetProperty("context_length_asked_for").GetInt32(), Is.EqualTo(999_999_999));
    }

    /// <summary>The machine is not described, and there is no such model: neither is looked at.</summary>
    [Test]
    public async Task A_chart_that_cannot_be_written_is_told_before_anything_is_measured()
    {
        string nowhere = Path.Combine(_folder, "none", "x.svg");
        (int code, string output, string error) = await Run("plan", "llama", "--chart", nowhere);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Is.EqualTo($"--chart: '{nowhere}' could not be written, since there is no folder '{Path.Combine(_folder, "none")}'.{Environment.NewLine}"));
    }

    [TestCase("1.5 TB", 1.5e12)]
    [TestCase("240gib", 240.0 * (1 << 30))]
    [TestCase("512MB", 512e6)]
    public void Sizes_take_units(string text, double expected) => Assert.That(Quantity.Bytes("--ram", text), Is.EqualTo(expected));

    [Test]
    public void Drives_and_tokens_take_counts()
    {
        Assert.That(Quantity.Drives("--nvme", "2x7GB/s, 3.5 GB/s"), Is.EqualTo(new[] { (2, 7e9), (1, 3.5e9) }));
        Assert.That(Quantity.Tokens("--context", "32k"), Is.EqualTo(32_768));
        Assert.That(Quantity.Tokens("--context", "4096"), Is.EqualTo(4096));
    }

    private static IEnumerable<XElement> WithClass(XDocument svg, string name) => svg.Descendants().Where(e => (string?)e.Attribute("class") == name);

    private static (double X, double Y) Point(string text)
    {
        string[] parts = text.Split(',');
        return (double.Parse(parts[0], CultureInfo.InvariantCulture), double.Parse(parts[1], CultureInfo.InvariantCulture));
    }

    private static async Task<(int Code, string Output, string Error)> Run(params string[] args)
    {
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        int code = await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, output, error, IsTerminal: false), source);
        return (code, output.ToString(), error.ToString());
    }
}
