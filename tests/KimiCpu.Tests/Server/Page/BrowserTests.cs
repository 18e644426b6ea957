// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using PuppeteerSharp;
using PuppeteerSharp.Input;

namespace KimiCpu.Tests.Server.Page;

/// <summary>The page in a headless Chromium: /usr/bin/chromium or the one that the variable CHROME_PATH names; skipped without.</summary>
[TestFixture]
internal sealed class BrowserTests
{
    private const string Tool = """[{"type":"function","function":{"name":"get_weather","description":"Get the current weather for a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]""";

    private static readonly string[] s_arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

    private readonly List<string> _foreign = [];
    private readonly List<string> _problems = [];
    private RunningServer _server = null!;
    private IBrowser _browser = null!;
    private IPage _page = null!;

    [OneTimeSetUp]
    public async Task Open()
    {
        string? chromium = new[] { Environment.GetEnvironmentVariable("CHROME_PATH"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome" }.FirstOrDefault(File.Exists);
        if (chromium is null)
        {
            Assert.Ignore("Needs Chromium: install it, or name one by CHROME_PATH.");
        }

        _server = await RunningServer.StartAsync();
        _browser = await Puppeteer.LaunchAsync(new LaunchOptions { Headless = true, ExecutablePath = chromium, Args = s_arguments });
    }

    [OneTimeTearDown]
    public async Task Close()
    {
        if (_browser is not null)
        {
            await _browser.DisposeAsync();
            await _server.DisposeAsync();
        }
    }

    [SetUp]
    public async Task OpenPage()
    {
        _foreign.Clear();
        _problems.Clear();
        _page = await _browser.NewPageAsync();
        _page.DefaultTimeout = 120_000;
        _page.Request += (_, e) =>
        {
            if (!e.Request.Url.StartsWith(_server.Http.BaseAddress!.ToString(), StringComparison.Ordinal))
            {
                _foreign.Add(e.Request.Url);
            }
        };
        _page.PageError += (_, e) => _problems.Add(e.Message);
        await _page.GoToAsync(_server.Http.BaseAddress!.ToString());
        await _page.WaitForFunctionAsync("() => document.getElementById('model').textContent === 'kimi-nano'");
    }

    [TearDown]
    public async Task ClosePage()
    {
        await _page.DisposeAsync();
        Assert.That(_foreign, Is.Empty, "Asked elsewhere.");
        Assert.That(_problems, Is.Empty);
    }

    [Test]
    public async Task A_question_typed_is_answered_with_its_reasoning_folded()
    {
        await Set("temperature", "0");
        await _page.TypeAsync("#prompt", "What is the capital of France?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Text(".answer .text"), Is.EqualTo("The capital of France is Paris."));
        Assert.That(await Value<bool>("document.querySelector('.answer details').open"), Is.False);
        Assert.That(await Value<string>("document.querySelector('.answer details div').textContent"), Is.Not.Empty);
        Assert.That(await Text("#announce"), Does.EndWith("The capital of France is Paris."), "what a screen reader says");
        Assert.That(await Value<string>("document.activeElement.id"), Is.EqualTo("prompt"));
    }

    [Test]
    public async Task Escape_stops_an_answer_and_what_was_said_stays()
    {
        await Set("temperature", "0");
        await _page.EvaluateExpressionAsync("""{ const ask = window.fetch; window.fetch = (url, o) => ask(url, o?.body ? { ...o, body: o.body.replace("{", '{"ignore_eos":true,') } : o); }""");
        await _page.TypeAsync("#prompt", "What is the capital of France?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await _page.WaitForSelectorAsync("#stop:not([hidden])");
        await _page.WaitForFunctionAsync("() => document.querySelector('.answer .text')?.textContent.length > 40");
        await _page.Keyboard.PressAsync(Key.Escape);
        await Answered();
        Assert.That(await Text(".answer .text"), Does.StartWith("The capital of France is Paris."));
        Assert.That(await Text(".answer .small"), Does.StartWith("stopped"));
        _server.ExpectNoLeak();
    }

    [Test]
    public async Task A_call_of_a_tool_is_shown_and_waits_for_its_result()
    {
        await Set("temperature", "0");
        await Set("tools", Tool);
        await _page.TypeAsync("#prompt", "What is the weather in Oslo?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await _page.WaitForSelectorAsync(".call textarea");
        Assert.That(await Text(".call"), Does.Contain("get_weather").And.Contain("Oslo"));
        await _page.TypeAsync(".call textarea", "12 degrees and sunny in Oslo");
        await _page.ClickAsync(".call button");
        await Answered();
        Assert.That(await Text(".answer:last-child .text"), Does.Contain("12 degrees and sunny in Oslo"));
    }

    /// <summary>Half of a call is nothing to give a result for, nor to go on from; and where there was nothing else, the question is asked again.</summary>
    [TestCase("Let me look.", "{\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]", "cut off at the limit of tokens", "user,assistant,user")]
    [TestCase("Let me look.", "{\"error\":{\"message\":\"It took too long.\"}}\n\ndata: [DONE]", "It took too long.", "user,assistant,user")]
    [TestCase("", "{\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]", "cut off at the limit of tokens", "user")]
    [TestCase("", "{\"error\":{\"message\":\"It took too long.\"}}\n\ndata: [DONE]", "It took too long.", "user")]
    public async Task A_call_that_was_cut_off_is_not_gone_on_from(string said, string end, string told, string asked)
    {
        string begin = $$$"""
            data: {"choices":[{"delta":{"content":"{{{said}}}"}}]}

            data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"functions.get_weather:0","function":{"name":"get_weather","arguments":"{\"city\": \"Os"}}]}}]}


            """;
        await _page.EvaluateFunctionAsync("text => { window.real = window.fetch; window.fetch = async (url, o) => o?.body ? new Response(text) : window.real(url, o); }", $"{begin}data: {end}\n\n");
        await Set("temperature", "0");
        await _page.TypeAsync("#prompt", "What is the weather in Oslo?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Text(".answer"), Does.Contain(said).And.Contain("get_weather").And.Contain(told));
        Assert.That(await Value<int>("document.querySelectorAll('.call textarea').length"), Is.Zero);
        Assert.That(await Value<string>("document.getElementById('prompt').value"), Is.EqualTo(said == "" ? "What is the weather in Oslo?" : ""));
        await _page.EvaluateExpressionAsync("window.fetch = (url, o) => { window.asked = o?.body ?? window.asked; return window.real(url, o); }");
        await Set("prompt", "");
        await _page.TypeAsync("#prompt", "What is the capital of France?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Text(".answer:last-child .text"), Is.Not.Empty);
        Assert.That(await Value<string>("JSON.parse(window.asked).messages.map(m => m.role + (m.tool_calls ? ' calls' : '')).join()"), Is.EqualTo(asked));
    }

    [Test]
    public async Task A_refusal_is_shown_in_the_servers_words()
    {
        await Set("tools", "no JSON");
        await _page.TypeAsync("#prompt", "Hi");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Text(".problem"), Does.StartWith("The tools in Settings are no JSON"));
        await Set("tools", "");
        await Set("temperature", "-1");
        await _page.TypeAsync("#prompt", "Hi");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Text(".answer:last-child .problem"), Does.Contain("emperature"));
    }

    /// <summary>Asked again, it would be asked twice; and one that does not fit into the context would keep all later ones from it.</summary>
    [Test]
    public async Task A_question_that_failed_is_taken_back_into_its_box()
    {
        await Set("temperature", "-1");
        await _page.TypeAsync("#prompt", "What is the capital of France?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Value<string>("document.getElementById('prompt').value"), Is.EqualTo("What is the capital of France?"));
        await Set("temperature", "0");
        await _page.EvaluateExpressionAsync("""{ const ask = window.fetch; window.fetch = (url, o) => { window.asked = o?.body ?? window.asked; return ask(url, o); }; }""");
        await _page.FocusAsync("#prompt");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Text(".answer:last-child .text"), Is.EqualTo("The capital of France is Paris."));
        Assert.That(await Value<int>("JSON.parse(window.asked).messages.length"), Is.EqualTo(1));
    }

    [Test]
    public async Task Markup_in_texts_stays_text()
    {
        await _page.TypeAsync("#prompt", "<img src=x onerror=alert(1)> `code` **strong**");
        await Set("max-tokens", "1");
        await _page.FocusAsync("#prompt");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        Assert.That(await Value<int>("document.querySelectorAll('#log img').length"), Is.Zero);
        Assert.That(await Text(".user .text"), Does.StartWith("<img src=x"));
    }

    [Test]
    public async Task The_machine_is_seen_at_work()
    {
        await _page.ClickAsync("#machine-toggle");
        await _page.TypeAsync("#prompt", "Why is the sky blue?");
        await _page.Keyboard.PressAsync(Key.Enter);
        await Answered();
        await _page.WaitForFunctionAsync("() => Number(document.getElementById('rate').textContent) > 0 && /[1-9]\\d* of 120 used/.test(document.getElementById('map-text').textContent)");
        Assert.That(await Text("#placement"), Does.StartWith("CPU:"));
        Assert.That(await Text("#pages-text"), Does.Contain("pages"));
        Assert.That(await Value<bool>("[...document.getElementById('map').getContext('2d').getImageData(0, 0, 384, 80).data].some(v => v > 0)"), Is.True);
    }

    [Test]
    public async Task Every_control_has_a_name_and_is_reached_by_the_keyboard()
    {
        await _page.ClickAsync("#settings-toggle");
        string[] nameless = await Value<string[]>("[...document.querySelectorAll('input, textarea, select, button')].filter(e => !e.labels?.length && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.id)");
        Assert.That(nameless, Is.Empty);
        var reached = new HashSet<string>();
        for (int i = 0; i < 25; i++)
        {
            await _page.Keyboard.PressAsync(Key.Tab);
            reached.Add(await Value<string>("document.activeElement.id"));
        }

        string[] expected = ["new", "settings-toggle", "machine-toggle", "log", "prompt", "send", "key", "system", "temperature", "top-p", "max-tokens", "seed", "effort", "tools"];
        Assert.That(reached, Is.SupersetOf(expected));
    }

    private Task Answered() => _page.WaitForFunctionAsync("() => document.getElementById('log').getAttribute('aria-busy') === 'false' && !document.getElementById('send').hidden");

    private Task Set(string id, string value) => _page.EvaluateFunctionAsync("(id, value) => document.getElementById(id).value = value", id, value);

    private Task<string> Text(string selector) => Value<string>($"document.querySelector('{selector}').innerText.trim()");

    private Task<T> Value<T>(string expression) => _page.EvaluateExpressionAsync<T>(expression);
}
