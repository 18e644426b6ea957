// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed partial class ServeCommandTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Serves_until_it_is_cancelled()
    {
        string keys = Write("keys.txt", "# of the tests\nsecret\n");
        string config = Write("kimi.json", """{"Server":{"Port":1,"ModelNames":["gpt"],"Temperature":0.2,"TopP":0.95},"Model":{"ContextLength":1000}}""");
        using var cancellation = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        Task<int> run = KimiCommand.RunAsync(
            ["serve", "--port", "0", "--config", config, "--api-key-file", keys, "--temperature", "0.9"], new CliStreams(Stream.Null, TextWriter.Synchronized(output), TextWriter.Synchronized(error), IsTerminal: false), cancellation);
        Assert.That(() => run.IsCompleted || output.ToString().Length > 0, Is.True.After(60_000, 50));
        Assert.That(output.ToString(), Does.StartWith("Serving kimi-nano at http://127.0.0.1:"), error.ToString());
        using var http = new HttpClient { BaseAddress = new Uri(Address().Match(output.ToString()).Value) };
        Assert.That((int)(await http.GetAsync("/v1/models")).StatusCode, Is.EqualTo(401));
        http.DefaultRequestHeaders.Add("x-api-key", "secret");
        using HttpResponseMessage answer = await http.PostAsync("/v1/chat/completions", Json("""{"model":"gpt","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0}"""));
        Assert.That(await answer.Content.ReadAsStringAsync(), Does.Contain("Paris"));
        using HttpResponseMessage response = await http.PostAsync("/v1/responses", Json("""{"input":"Hi","max_output_tokens":1}"""));
        Assert.That(await response.Content.ReadAsStringAsync(), Does.Contain("\"temperature\":0.9").And.Contain("\"top_p\":0.95"), "the command line goes over the file");
        using HttpResponseMessage tokens = await http.PostAsync("/tokenize", Json("""{"prompt":"a"}"""));
        Assert.That(await tokens.Content.ReadAsStringAsync(), Does.Contain("\"max_model_len\":1000"), "the configuration file says so");
        Assert.That(await http.GetStringAsync("/metrics"), Does.Contain("kimicpu_requests_running").And.Contain("kimicpu_cache_pages").And.Contain("gen_ai_server_"));
        http.DefaultRequestHeaders.Host = "evil.example.com";
        using HttpResponseMessage foreign = await http.GetAsync("/v1/models");
        Assert.That((int)foreign.StatusCode, Is.EqualTo(400), "the name of a page that points at this machine");
        Assert.That(await foreign.Content.ReadAsStringAsync(), Does.Contain("evil.example.com").And.Contain("\"error\"").And.Contain("--allow-host"));
        await cancellation.CancelAsync();
        Assert.That(await run, Is.AnyOf(KimiCommand.Ok, KimiCommand.Cancelled));
    }

    /// <summary>Proxies before the server, and containers beside it, name another host than where it listens.</summary>
    [TestCase("127.0.0.1", "127.0.0.1", 200)]
    [TestCase("0.0.0.0", "10.0.0.7", 400)]
    [CancelAfter(60_000)]
    public async Task Answers_the_hosts_and_origins_that_it_is_told(string host, string other, int expected, CancellationToken cancellationToken)
    {
        string config = Write("kimi.json", $$$"""{"Server":{"Host":"{{{host}}}","AllowedHosts":["*.internal"]},"Model":{"Embedded":true}}""");
        using var cancellation = new CancellationTokenSource();
        var output = new StringWriter();
        Task<int> run = KimiCommand.RunAsync(
            ["serve", "--port", "0", "--config", config, "--allow-host", "Kimi.example.com", "--allow-host", "2001:DB8:0:0::1", "--allow-origin", "https://chat.example.com"], new CliStreams(Stream.Null, TextWriter.Synchronized(output), TextWriter.Null, IsTerminal: false), cancellation);
        Assert.That(() => run.IsCompleted || output.ToString().Length > 0, Is.True.After(60_000, 50));
        using var http = new HttpClient { BaseAddress = new UriBuilder(Address().Match(output.ToString()).Value) { Host = "127.0.0.1" }.Uri };
        foreach ((string name, int status) in new[] { ("kimi.example.com", 200), ("kimi.example.com:8443", 200), ("host.docker.internal", 200), ("[2001:db8::1]:8080", 200), ("localhost", 200), ("example.com", 400), ("kimi.example.com.evil.example", 400), (other, expected) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models") { Headers = { { "Host", name }, { "Origin", "https://chat.example.com" } } };
            using HttpResponseMessage response = await http.SendAsync(request, cancellationToken);
            Assert.That((int)response.StatusCode, Is.EqualTo(status), name);
            if (status == 200)
            {
                Assert.That(response.Headers.GetValues("Access-Control-Expose-Headers").Single().Split(','), Is.SupersetOf(new[] { "x-request-id", "request-id", "Retry-After" }), "or browsers hide them from the page");
            }
            else
            {
                Assert.That(await response.Content.ReadAsStringAsync(cancellationToken), Does.Contain("--allow-host").And.Not.Contain("internal"), "for a page that was led here");
            }
        }

        foreach (string path in new[] { "/health", "/ready" })
        {
            using var probe = new HttpRequestMessage(HttpMethod.Get, path) { Headers = { { "Host", "10.0.0.7" } } };
            using HttpResponseMessage response = await http.SendAsync(probe, cancellationToken);
            Assert.That((int)response.StatusCode, Is.EqualTo(200), $"{path}: or whoever watches it ends the server");
        }

        await cancellation.CancelAsync();
        Assert.That(await run, Is.AnyOf(KimiCommand.Ok, KimiCommand.Cancelled));
    }

    [TestCase("--port 70000", "--port")]
    [TestCase("--host nowhere", "--host")]
    [TestCase("--max-requests 0", "MaxRequests")]
    [TestCase("--temperature -1", "--temperature takes 0 … 100, or nothing; found -1.")]
    [TestCase("--top-p 1.5", "--top-p takes a number above 0 and at most 1, or nothing; found 1.5.")]
    [TestCase("--model nowhere", "ModelPath")]
    [TestCase("--device gpu", "Device")]
    [TestCase("--context -4", "--context takes a number of tokens, such as 4096, 32K or 128K (K is 1024); found '-4'.")]
    [TestCase("--exact --int8-hot-path", "exclude each other")]
    [TestCase("--allow-host https://kimi.example.com", "takes names of hosts such as kimi.example.com, or *.example.com for all below it, without scheme, port and path; found 'https://kimi.example.com'.")]
    [TestCase("--allow-host kimi.example.com:8080", "found 'kimi.example.com:8080'")]
    [TestCase("--allow-host *", "found '*'")]
    [TestCase("--allow-host 0.0.0.0", "found '0.0.0.0'")]
    [TestCase("--allow-origin foo", "AllowedOrigins")]
    [TestCase("--allow-origin https://a.example/chat", "AllowedOrigins")]
    public async Task Says_what_is_wrong_with_an_option(string options, string named)
    {
        var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(["serve", .. options.Split(' ')], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), cancellation);
        Assert.That((code, error.ToString()), Is.EqualTo((KimiCommand.Usage, error.ToString())));
        Assert.That(error.ToString(), Does.Contain(named));
    }

    [TestCase("""{"Model":{"ModlePath":"/models/x"}}""", "'ModlePath' in the configuration, at Model:ModlePath. Did you mean ModelPath?")]
    [TestCase("""{"Model":{"OpenAtStart":false}}""", "Unknown key 'OpenAtStart' in the configuration, at Model:OpenAtStart.")]
    [TestCase("""{"Server":{"ContextLength":9}}""", "at Server:ContextLength. Did you mean Model:ContextLength?")]
    [TestCase("""{"Modle":{"ModelPath":"/models/x"}}""", "at Modle. Did you mean Model?")]
    [TestCase("""{"ModelPath":"/models/x"}""", "at ModelPath. Did you mean Model:ModelPath?")]
    [TestCase("""{"AllowedHosts":"*"}""", "at AllowedHosts. Did you mean Server:AllowedHosts? The sections are Server, Model, Logging.")]
    [TestCase("""{"Server":{"AllowedHosts":"kimi.example.com"}}""", "a single value at Server:AllowedHosts, which takes a list")]
    [TestCase("""{"Server":{"AllowedHosts":[""]}}""", "Server:AllowedHosts, takes names of hosts")]
    [TestCase("""{"Server":{"ModelNames":"*"}}""", "a single value at Server:ModelNames, which takes a list")]
    [TestCase("""{"Server":{"StreamKeepAlive":60}}""", "'60' at Server:StreamKeepAlive, which takes a time as hours, minutes and seconds")]
    [TestCase("""{"Server":{"ShutdownGrace":"0.5"}}""", "'0.5' at Server:ShutdownGrace")]
    [TestCase("""{"Model":{"MaxTokenGap":1}}""", "'1' at Model:MaxTokenGap")]
    [TestCase("""{"Server":{"StreamKeepAlive":"30:00:00"}}""", "StreamKeepAlive takes a time above zero up to a day")]
    [TestCase("""{"Server":{"ModelNames":[""]}}""", "ModelNames takes names")]
    [TestCase("""{"Logging":{"LogLevel":{"Default":"Debgu"}}}""", "'Debgu' at Logging:LogLevel:Default, which takes Trace, Debug")]
    [TestCase("""{"Model":{"Threads":"many"}}""", "The configuration has 'many' at Model:Threads, which takes a whole number.")]
    [TestCase("""{"Model":{"Threads":1.5}}""", "'1.5' at Model:Threads, which takes a whole number.")]
    [TestCase("""{"Model":{"ContextLength":99999999999}}""", "'99999999999' at Model:ContextLength, which takes a whole number of -2147483648 … 2147483647.")]
    [TestCase("""{"Model":{"ExpertMemory":"180GB"}}""", "'180GB' at Model:ExpertMemory, which takes a whole number of bytes.")]
    [TestCase("""{"Model":{"Exact":"yes"}}""", "'yes' at Model:Exact, which takes true or false.")]
    [TestCase("""{"Model":{"MaxCallTime":"1:2:x"}}""", "'1:2:x' at Model:MaxCallTime, which takes a time as hours")]
    [TestCase("""{"Server":{"MaxRequests":true}}""", "'True' at Server:MaxRequests, which takes a whole number.")]
    [TestCase("""{"Server":[]}""", "an empty list or text at Server, which takes an object with the keys Host, ")]
    [TestCase("""{"Server":""}""", "an empty list or text at Server")]
    [TestCase("""{"Model":"/models/x"}""", "a single value at Model")]
    [TestCase("""{"Logging":[]}""", "an empty list or text at Logging, which takes an object.")]
    [TestCase("""{"Logging":{"LogLevel":"Debug"}}""", "'Debug' at Logging:LogLevel, which takes an object.")]
    [TestCase("""{"Logging":{"Console":{"LogLevel":[]}}}""", "at Logging:Console:LogLevel, which takes an object.")]
    [TestCase("""[]""", "is no valid configuration")]
    [TestCase("""{"Logging":{"LogLvl":{"Default":"Debug"}}}""", "at Logging:LogLvl. Known keys: LogLevel, Console.")]
    [TestCase("""{"Model":{"ContextLength":-4}}""", "Model: ContextLength takes 1 or more; found -4.")]
    [TestCase("""{"Model":{"Embedded":true,"Threads":0}}""", "Model: Threads takes 1 … 1024; found 0.")]
    [TestCase("""{"Model":{"ModelPath":"/does/not/exist"}}""", "Model: ModelPath takes an existing folder; found '")]
    [TestCase("""{"Model":{"ModelPath":"moonshotai/Kimi-K2-Thinking"}}""", "which does not exist; models are not downloaded here but by `hf download moonshotai/Kimi-K2-Thinking --local-dir DIR`.")]
    [TestCase("""{"Model":{"ModelPath":""}}""", "Set ModelPath")]
    [TestCase("""{"Model":{"Embedded":false}}""", "Set ModelPath")]
    [TestCase("""{"Model":""", "LineNumber")]
    public async Task Says_what_nobody_would_read_of_its_configuration(string json, string message)
    {
        var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(["serve", "--port", "0", "--config", Write("kimi.json", json)], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), cancellation);
        Assert.That((code, error.ToString()), Is.EqualTo((KimiCommand.Usage, error.ToString())));
        Assert.That(error.ToString(), Does.Contain(message).And.Not.Contains("System."));
    }

    /// <summary>Nearly every other program has one underscore between the parts; without a word it would be kimi-nano that is served, and to everybody.</summary>
    [TestCase("KIMI_MODEL_MODELPATH", "KIMI_MODEL__MODELPATH")]
    [TestCase("KIMI_SERVER_API_KEY_FILE", "KIMI_SERVER__APIKEYFILE")]
    [TestCase("KIMI_SERVER_APIKEYS_0", "KIMI_SERVER__APIKEYS__0")]
    [TestCase("KIMI_LOGGING_LOGLEVEL_DEFAULT", "KIMI_LOGGING__LOGLEVEL__DEFAULT")]
    [CancelAfter(60_000)]
    public async Task Says_what_of_the_environment_lacks_an_underscore(string name, string meant, CancellationToken cancellationToken)
    {
        using var kimi = new KimiProcess([(name, "x")], ["serve", "--port", "0"]);
        string said = await kimi.Error.ReadToEndAsync(cancellationToken);
        Assert.That((await kimi.WaitAsync(cancellationToken), said), Is.EqualTo((KimiCommand.Usage, said)));
        Assert.That(said, Does.StartWith($"{name} of the environment is not read: ").And.Contains($"Did you mean {meant}?"));
    }

    /// <summary>What other programs, and Kubernetes of a service called kimi-server, call theirs; and a model of the environment in place of the file's.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "There is no signal to send.")]
    [CancelAfter(60_000)]
    public async Task Names_of_the_environment_that_are_others_are_left_to_them_and_its_model_goes_over_the_files(CancellationToken cancellationToken)
    {
        string config = Write("kimi.json", """{"Model":{"ModelPath":"/no/such/folder"}}""");
        using var kimi = new KimiProcess(
            [("KIMI_SERVER_PORT", "tcp://10.0.0.7:80"), ("KIMI_API_KEY", "x"), ("KIMI_MODEL_NAME", "y"), ("KIMI_MODEL__EMBEDDED", "true")], ["serve", "--port", "0", "--config", config]);
        Assert.That(await kimi.Output.ReadLineAsync(cancellationToken), Does.StartWith("Serving kimi-nano"));
        kimi.Interrupt();
        Assert.That(await kimi.WaitAsync(cancellationToken), Is.EqualTo(KimiCommand.Ok));
    }

    [TestCase("Information", true)]
    [TestCase("Warning", false)]
    [Platform(Exclude = "Win", Reason = "There is no signal to send.")]
    [CancelAfter(60_000)]
    public async Task The_log_of_what_is_Microsofts_has_the_level_that_is_configured(string level, bool isTold, CancellationToken cancellationToken)
    {
        string config = Write("kimi.json", $$$$"""{"Model":{"Embedded":true},"Logging":{"LogLevel":{"Microsoft":"{{{{level}}}}"}}}""");
        using var kimi = new KimiProcess("serve", "--port", "0", "--config", config);
        Assert.That(await kimi.Output.ReadLineAsync(cancellationToken), Does.StartWith("Serving kimi-nano"));
        kimi.Interrupt();
        Assert.That((await kimi.Error.ReadToEndAsync(cancellationToken)).Contains("Application started", StringComparison.Ordinal), Is.EqualTo(isTold));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Says_in_one_line_that_its_model_cannot_be_opened(CancellationToken cancellationToken)
    {
        using var kimi = new KimiProcess("serve", "--port", "0", "--model", _folder);
        string said = (await kimi.Error.ReadToEndAsync(cancellationToken)).Trim();
        Assert.That((await kimi.WaitAsync(cancellationToken), said), Is.EqualTo((KimiCommand.Failed, said)));
        Assert.That(said, Does.Contain(_folder).And.Not.Contains("next call").And.Not.Contains("\n"));
    }

    [TestCase("--config", "none.json", "--config takes a file; there is none at '")]
    [TestCase("--config", "", "--config takes a file; '")]
    [TestCase("--api-key-file", "none.txt", "--api-key-file, or Server:ApiKeyFile, takes a file; there is none at '")]
    [TestCase("--api-key-file", "", "--api-key-file, or Server:ApiKeyFile, takes a file; '")]
    [TestCase("--api-key-file", "empty.txt", "--api-key-file, or Server:ApiKeyFile, takes a file with a key a line; '")]
    public async Task Says_which_option_names_a_file_that_cannot_be_read(string option, string file, string message)
    {
        Write("empty.txt", "# no key\n\n");
        var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(["serve", "--port", "0", option, Path.Combine(_folder, file)], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), cancellation);
        Assert.That((code, error.ToString()), Is.EqualTo((KimiCommand.Usage, error.ToString())));
        Assert.That(error.ToString(), Does.StartWith(message).And.Contains(_folder));
    }

    [Test]
    public async Task Says_where_a_port_that_is_none_was_given()
    {
        var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        string config = Write("kimi.json", """{"Server":{"Port":"abc"}}""");
        Assert.That(await KimiCommand.RunAsync(["serve", "--config", config], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), cancellation), Is.EqualTo(KimiCommand.Usage));
        Assert.That(error.ToString(), Does.Contain("Server:Port, takes 0 … 65535; found 'abc'"));
    }

    [Test]
    public async Task Says_in_one_line_that_its_port_is_in_use()
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        int port = ((IPEndPoint)other.LocalEndpoint).Port;
        var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(["serve", "--port", $"{port}"], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), cancellation);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed), error.ToString());
        Assert.That(error.ToString().Trim(), Does.StartWith($"http://127.0.0.1:{port} is in use").And.Contains("--port").And.Not.Contains("\n"));
    }

    /// <summary>The model's opening would wait until somebody writes into its configuration.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "There are no pipes in the file system.")]
    public async Task A_port_in_use_is_told_before_a_model_is_opened()
    {
        string pipe = Path.Combine(_folder, "config.json");
        using (Process make = Process.Start("mkfifo", [pipe]))
        {
            await make.WaitForExitAsync();
        }

        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        int port = ((IPEndPoint)other.LocalEndpoint).Port;
        var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        Task<int> serving = Task.Run(() => KimiCommand.RunAsync(["serve", "--port", $"{port}", "--model", _folder], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), cancellation));
        bool isTold = await Task.WhenAny(serving, Task.Delay(TimeSpan.FromSeconds(60))) == serving;
        if (!isTold)
        {
            using Process write = Process.Start("sh", ["-c", $"echo >'{pipe}'"]);
            await write.WaitForExitAsync();
        }

        Assert.That((await serving, isTold), Is.EqualTo((KimiCommand.Failed, true)));
        Assert.That(error.ToString(), Does.Contain("is in use"));
    }

    private static StringContent Json(string text) => new(text, Encoding.UTF8, "application/json");

    private string Write(string name, string text)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    [GeneratedRegex(@"http://[\d.:]+")]
    private static partial Regex Address();
}
