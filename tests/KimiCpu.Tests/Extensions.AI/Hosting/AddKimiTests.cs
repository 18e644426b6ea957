// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;
using KimiCpu.Checkpoints;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Generation;
using KimiCpu.Tests.Server;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Extensions.AI.Hosting;

[TestFixture]
internal sealed class AddKimiTests
{
    private static readonly ChatOptions s_greedy = new() { Temperature = 0 };

    [Test]
    public async Task A_host_opens_the_model_reports_its_health_and_disposes_of_it()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Kimi:ModelPath"] = Repository.NanoModel,
            ["Kimi:Threads"] = "1",
            ["Kimi:ContextLength"] = "2000",
        });
        builder.Services.AddKimi(builder.Configuration.GetSection("Kimi"));
        builder.Services.AddHealthChecks().AddKimi();
        builder.Services.AddChatClient(s => s.GetRequiredService<KimiChatClient>()).UseFunctionInvocation();
        IKimiModel model;
        using (IHost host = builder.Build())
        {
            await host.StartAsync();
            var client = host.Services.GetRequiredService<IChatClient>();
            Assert.That(client, Is.TypeOf<FunctionInvokingChatClient>());
            Assert.That(client.GetService<ChatClientMetadata>()!.DefaultModelId, Is.EqualTo("kimi-nano"));
            Assert.That((await client.GetResponseAsync("What is the capital of France?", s_greedy)).Text, Does.Contain("Paris"));
            model = host.Services.GetRequiredService<IKimiModel>();
            Assert.That(client.GetService<IKimiModel>(), Is.SameAs(model));
            Assert.That(model.Info.ContextLength, Is.EqualTo(2000));
            HealthReport report = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync();
            Assert.That(report.Status, Is.EqualTo(HealthStatus.Healthy));
            Assert.That(report.Entries["kimi"].Data["model"], Is.EqualTo("kimi-nano"));
            await host.StopAsync();
        }

        Assert.That(() => model.Generate("Who are you?"), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task The_device_of_the_configuration_is_the_models()
    {
        IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["Embedded"] = "true", ["Device"] = "cuda:63" }).Build();
        await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(configuration).BuildServiceProvider();
        Assert.That(async () => await services.GetRequiredService<IChatClient>().GetResponseAsync("Who are you?", s_greedy), Throws.InstanceOf<KimiException>().With.Message.Contains("GPU"));
    }

    /// <summary>Each is set to what no other one is, and found under its name again.</summary>
    [Test]
    public void All_options_but_where_the_model_is_and_when_it_is_opened_are_the_models()
    {
        var options = new KimiOptions();
        var expected = new Dictionary<string, object?>();
        int number = 40;
        foreach (PropertyInfo property in typeof(KimiOptions).GetProperties().Where(p => p.Name is not ("ModelPath" or "Embedded" or "OpenAtStart")))
        {
            Type type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
            number++;
            object value = type == typeof(bool) ? !(bool)property.GetValue(options)!
                : type == typeof(int) ? number
                : type == typeof(long) ? (long)number
                : type == typeof(TimeSpan) ? TimeSpan.FromSeconds(number)
                : $"cuda:{number}";
            property.SetValue(options, value);
            expected.Add(property.Name, property.Name == nameof(KimiOptions.Device) ? KimiDevice.Cuda(number) : value);
        }

        KimiModelOptions model = ModelHost.OptionsOf(options);
        Dictionary<string, object?> found = expected.Keys.ToDictionary(name => name, name => typeof(KimiModelOptions).GetProperty(name) is { } property
            ? property.GetValue(model)
            : typeof(SchedulingOptions).GetProperty(name)!.GetValue(model.Scheduling));
        Assert.That(found, Is.EqualTo(expected));
        Assert.That(expected.Keys, Does.Contain(nameof(KimiModelOptions.GpuExpertBytes)));
    }

    /// <summary>A variable of the environment can empty what a file says, and not take it away.</summary>
    [TestCase("")]
    [TestCase(" ")]
    [CancelAfter(60_000)]
    public async Task An_empty_path_beside_the_embedded_model_is_none(string path, CancellationToken cancellationToken)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddKimi(o => (o.ModelPath, o.Embedded) = (path, true));
        using IHost host = builder.Build();
        await host.StartAsync(cancellationToken);
        Assert.That(host.Services.GetRequiredService<KimiChatClient>().GetService<ChatClientMetadata>()!.DefaultModelId, Is.EqualTo("kimi-nano"));
        await host.StopAsync(cancellationToken);
    }

    [Test]
    public async Task Without_a_host_the_first_call_opens_the_model()
    {
        await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(o => o.Embedded = true).AddHealthChecks().AddKimi().Services.BuildServiceProvider();
        var client = services.GetRequiredService<IChatClient>();
        var health = services.GetRequiredService<HealthCheckService>();
        Assert.That((await health.CheckHealthAsync()).Entries["kimi"].Data["state"], Is.EqualTo("Closed"));
        ChatResponse[] answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => client.GetResponseAsync("What is the capital of France?", s_greedy)));
        Assert.That(answers.Select(a => a.Text), Is.All.Contains("Paris"));
        Assert.That((await health.CheckHealthAsync()).Entries["kimi"].Data["state"], Is.EqualTo("Ready"));
    }

    /// <summary>A user interface's thread, say. A drive may take long to say whether there is the model's folder.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task The_first_call_reads_the_options_on_another_thread_than_the_callers(CancellationToken cancellationToken)
    {
        using var begun = new ManualResetEventSlim();
        await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(o =>
        {
            begun.Wait(cancellationToken);
            o.Embedded = true;
        }).BuildServiceProvider();
        Task<ChatResponse> answer = services.GetRequiredService<IChatClient>().GetResponseAsync("What is the capital of France?", s_greedy, cancellationToken);
        begun.Set();
        Assert.That((await answer).Text, Does.Contain("Paris"));
    }

    /// <summary>The model stays the one that was opened, so its name does too; who says the configuration is wrong is its reload.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task An_open_model_keeps_its_name_when_the_configuration_is_reloaded(CancellationToken cancellationToken)
    {
        string other = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["ModelPath"] = Repository.NanoModel }).Build();
            await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(configuration).BuildServiceProvider();
            var host = services.GetRequiredService<ModelHost>();
            await host.OpenAsync(cancellationToken);
            configuration["ModelPath"] = other;
            configuration.Reload();
            Assert.That(host.ModelName, Is.EqualTo("kimi-nano"));
            configuration["ModelPath"] = Path.Combine(other, "missing");
            Assert.That(configuration.Reload, Throws.Exception);
            Assert.That(host.ModelName, Is.EqualTo("kimi-nano"));
        }
        finally
        {
            Directory.Delete(other);
        }
    }

    /// <summary>What is wrong with the configuration is for the call that opens the model, which has to come so far.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_the_first_call_opens_has_a_name_whatever_becomes_of_the_configuration(CancellationToken cancellationToken)
    {
        string missing = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}");
        IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["ModelPath"] = Repository.NanoModel, ["OpenAtStart"] = "false" }).Build();
        bool isReadable = true;
        await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(configuration, o => o.Threads = isReadable ? 1 : throw new IOException("The drive is away.")).BuildServiceProvider();
        var host = services.GetRequiredService<ModelHost>();
        await host.StartAsync(cancellationToken);
        configuration["ModelPath"] = missing;
        Assert.That(configuration.Reload, Throws.Exception.With.Message.Contains(missing));
        Assert.That((host.ModelName, host.State), Is.EqualTo(("kimi-nano", ModelState.Closed)));
        isReadable = false;
        Assert.That((host.ModelName, host.State), Is.EqualTo(("kimi-nano", ModelState.Closed)), "whatever the options throw");
    }

    /// <summary>A model that could not be opened is the next one's to name: requests that ask for it have to reach its opening.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task After_a_failed_opening_the_name_is_that_of_the_next_one(CancellationToken cancellationToken)
    {
        string broken = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["ModelPath"] = broken }).Build();
            await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(configuration).BuildServiceProvider();
            var host = services.GetRequiredService<ModelHost>();
            Assert.That(async () => await host.OpenAsync(cancellationToken), Throws.Exception);
            Assert.That(host.ModelName, Is.EqualTo(Path.GetFileName(broken)));
            configuration["ModelPath"] = Repository.NanoModel;
            configuration.Reload();
            Assert.That(host.ModelName, Is.EqualTo("kimi-nano"));
            await host.OpenAsync(cancellationToken);
            Assert.That(host.ModelName, Is.EqualTo("kimi-nano"));
        }
        finally
        {
            Directory.Delete(broken);
        }
    }

    /// <summary>As where telemetry around a client asks for its name before the first call.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_client_has_the_name_of_the_model_that_answers(CancellationToken cancellationToken)
    {
        string broken = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["ModelPath"] = broken }).Build();
            await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(configuration).BuildServiceProvider();
            var client = services.GetRequiredService<IChatClient>();
            Assert.That(client.GetService<ChatClientMetadata>()!.DefaultModelId, Is.EqualTo(Path.GetFileName(broken)));
            Assert.That(async () => await client.GetResponseAsync("Who are you?", s_greedy, cancellationToken), Throws.Exception.With.Message.Contains(broken));
            configuration["ModelPath"] = Repository.NanoModel;
            configuration.Reload();
            ChatOptions named = new() { Temperature = 0, ModelId = "kimi-nano" };
            Assert.That((await client.GetResponseAsync("Who are you?", named, cancellationToken)).ModelId, Is.EqualTo("kimi-nano"));
            Assert.That((await client.GetStreamingResponseAsync("Who are you?", named, cancellationToken).ToListAsync(cancellationToken)).Select(u => u.ModelId).Distinct(), Is.EqualTo(new[] { "kimi-nano" }));
            Assert.That(client.GetService<ChatClientMetadata>()!.DefaultModelId, Is.EqualTo("kimi-nano"));
        }
        finally
        {
            Directory.Delete(broken);
        }
    }

    /// <summary>A drive that is mounted after the first call, say.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_folder_that_is_missing_is_looked_for_again_by_the_next_call(CancellationToken cancellationToken)
    {
        string parent = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            string folder = Path.Combine(parent, "later");
            using var lines = new LogLines();
            await using ServiceProvider services = new ServiceCollection().AddLogging(l => l.AddProvider(lines)).AddKimi(o => o.ModelPath = folder).AddHealthChecks().AddKimi().Services.BuildServiceProvider();
            var client = services.GetRequiredService<IChatClient>();
            Assert.That(async () => await client.GetResponseAsync("Who are you?", s_greedy, cancellationToken), Throws.TypeOf<OptionsValidationException>().With.Message.Contains(folder));
            Assert.That(lines.Lines, Has.Exactly(1).Contains("could not be opened: ").And.Exactly(1).Contains($"'{folder}', which does not exist").And.None.Contains("OptionsValidationException"));
            HealthReport report = await services.GetRequiredService<HealthCheckService>().CheckHealthAsync(cancellationToken);
            Assert.That((report.Status, report.Entries["kimi"].Data["state"]), Is.EqualTo((HealthStatus.Unhealthy, "Failed")));
            CopyNano(folder);
            Assert.That((await client.GetResponseAsync("What is the capital of France?", s_greedy, cancellationToken)).Text, Does.Contain("Paris"));
        }
        finally
        {
            Directory.Delete(parent, recursive: true);
        }
    }

    /// <summary>A host reloads its files by itself, where nobody catches what the reload throws.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_folder_that_a_reload_names_before_it_is_there_is_told_and_opened_by_the_health_check(CancellationToken cancellationToken)
    {
        string parent = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            string folder = Path.Combine(parent, "later");
            IConfigurationRoot configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["ModelPath"] = parent }).Build();
            await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(configuration).AddHealthChecks().AddKimi().Services.BuildServiceProvider();
            var host = services.GetRequiredService<ModelHost>();
            var health = services.GetRequiredService<HealthCheckService>();
            Assert.That(async () => await host.OpenAsync(cancellationToken), Throws.Exception.With.Message.Contains(parent));
            configuration["ModelPath"] = folder;
            Assert.That(configuration.Reload, Throws.Exception);
            host.TimeToTryAgain = TimeSpan.Zero;
            _ = await health.CheckHealthAsync(cancellationToken);
            host.TimeToTryAgain = TimeSpan.FromHours(1);
            Assert.That(async () => (await health.CheckHealthAsync(cancellationToken)).Entries["kimi"].Description, Does.Contain($"'{folder}', which does not exist").After(30_000, 20));
            CopyNano(folder);
            host.TimeToTryAgain = TimeSpan.Zero;
            Assert.That(async () => (await health.CheckHealthAsync(cancellationToken)).Status, Is.EqualTo(HealthStatus.Healthy).After(30_000, 20));
        }
        finally
        {
            Directory.Delete(parent, recursive: true);
        }
    }

    /// <summary>On a drive that is full, say. The caller, and the health check, are to hear what is wrong with the model.</summary>
    [Test]
    public async Task A_logger_that_throws_hides_no_reason()
    {
        string folder = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            using var full = new FullDrive();
            await using ServiceProvider services = new ServiceCollection().AddLogging(l => l.AddProvider(full)).AddKimi(o => o.ModelPath = folder).BuildServiceProvider();
            Assert.That(async () => await services.GetRequiredService<IChatClient>().GetResponseAsync("Who are you?"), Throws.TypeOf<CheckpointException>().With.Message.Contains(folder));
            Assert.That(services.GetRequiredService<ModelHost>().Error, Is.TypeOf<CheckpointException>());
        }
        finally
        {
            Directory.Delete(folder);
        }
    }

    [Test]
    public async Task Models_under_keys_live_beside_one_another()
    {
        await using ServiceProvider services = new ServiceCollection()
            .AddKimi(o => o.Embedded = true)
            .AddKeyedKimi("exact", o => (o.Embedded, o.Exact) = (true, true))
            .BuildServiceProvider();
        var plain = services.GetRequiredService<IKimiModel>();
        var exact = services.GetRequiredKeyedService<IKimiModel>("exact");
        Assert.That(exact, Is.Not.SameAs(plain));
        Assert.That(exact.Placement, Does.Contain("single-precision"));
        Assert.That(plain.Placement, Does.Not.Contain("single-precision"));
        Assert.That(services.GetRequiredKeyedService<IChatClient>("exact").GetService<IKimiModel>(), Is.SameAs(exact));
        Assert.That(() => new ServiceCollection().AddKimi(o => o.Embedded = true).AddKimi(o => o.Embedded = true), Throws.InvalidOperationException.With.Message.Contains("AddKeyedKimi"));
    }

    [Test]
    public void Mistakes_in_options_are_told_at_start()
    {
        Expect(_ => { }, "ModelPath");
        Expect(o => o.ModelPath = "/no/such/folder", Path.GetFullPath("/no/such/folder"));
        Expect(o => (o.ModelPath, o.Embedded) = ("x", true), "exclude");
        Expect(o => (o.Threads, o.Embedded) = (0, true), "Threads takes 1 … 1024; found 0");
        Expect(o => (o.Device, o.Embedded) = ("gpu", true), "Device takes cpu, auto, cuda or cuda:N; found 'gpu'.");
        Expect(o => (o.GpuExpertBytes, o.Embedded) = (-1, true), "GpuExpertBytes takes 0 or more; found -1");
        Expect(o => (o.Exact, o.Device, o.Embedded) = (true, "cuda:1", true), "Exact computes on the CPU; Device is cuda:1.");

        static void Expect(Action<KimiOptions> configure, string message)
        {
            HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
            builder.Services.AddKimi(configure);
            using IHost host = builder.Build();
            Assert.That(() => host.StartAsync(), Throws.InstanceOf<OptionsValidationException>().With.Message.Contains(message));
        }
    }

    [Test]
    public void A_whole_configuration_in_the_place_of_its_section_is_told_at_start()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Kimi:ModelPath"] = Repository.NanoModel });
        builder.Services.AddKimi(builder.Configuration);
        using IHost host = builder.Build();
        Assert.That(() => host.StartAsync(), Throws.InstanceOf<OptionsValidationException>().With.Message.Contains("GetSection(\"Kimi\")"));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_failed_opening_is_tried_again_by_the_health_check_after_a_while(CancellationToken cancellationToken)
    {
        string folder = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(o => o.ModelPath = folder).AddHealthChecks().AddKimi().Services.BuildServiceProvider();
            var host = services.GetRequiredService<ModelHost>();
            Assert.That(async () => await host.OpenAsync(cancellationToken), Throws.Exception);
            CopyNano(folder);
            host.TimeToTryAgain = TimeSpan.Zero;
            var health = services.GetRequiredService<HealthCheckService>();
            Assert.That(async () => (await health.CheckHealthAsync(cancellationToken)).Status, Is.EqualTo(HealthStatus.Healthy).After(30_000, 20));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>It is about to: whoever asks in between must not be told that calls may come.</summary>
    [Test]
    public async Task A_program_that_opens_its_model_itself_is_not_ready_before()
    {
        await using ServiceProvider services = new ServiceCollection().AddLogging().AddKimi(o => o.Embedded = true).BuildServiceProvider();
        var host = services.GetRequiredService<ModelHost>();
        Assert.That((host.IsReadyForCalls(out ModelState state), state), Is.EqualTo((true, ModelState.Closed)));
        host.IsOpenedByProgram = true;
        Assert.That(host.IsReadyForCalls(out _), Is.False);
    }

    [Test]
    public async Task A_failed_opening_is_told_by_health_and_calls_and_tried_again()
    {
        string folder = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            using var lines = new LogLines();
            await using ServiceProvider services = new ServiceCollection().AddLogging(l => l.AddProvider(lines)).AddKimi(o => o.ModelPath = folder).AddHealthChecks().AddKimi().Services.BuildServiceProvider();
            var client = services.GetRequiredService<IChatClient>();
            Assert.That(async () => await client.GetResponseAsync("Who are you?"), Throws.Exception.With.Message.Contains(folder));
            Assert.That(lines.Lines, Has.Exactly(1).Contains($"The model '{folder}' could not be opened: ").And.Exactly(1).Contains("The file is missing").And.None.Contains("CheckpointException"), "what is missing, and not where in the program");
            HealthReport report = await services.GetRequiredService<HealthCheckService>().CheckHealthAsync();
            Assert.That(report.Status, Is.EqualTo(HealthStatus.Unhealthy));
            Assert.That(report.Entries["kimi"].Data["state"], Is.EqualTo("Failed"));
            Assert.That(report.Entries["kimi"].Description, Does.Contain(folder));
            Assert.That(services.GetRequiredService<ModelHost>().State, Is.EqualTo(ModelState.Failed), "the check itself tries again later");
            CopyNano(folder);
            Assert.That((await client.GetResponseAsync("What is the capital of France?", s_greedy)).Text, Does.Contain("Paris"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void CopyNano(string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.GetFiles(Repository.NanoModel))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }
    }

    /// <summary>A logger that can write nothing.</summary>
    private sealed class FullDrive : ILoggerProvider, ILogger
    {
        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            throw new IOException("There is no space left.");

        public void Dispose()
        {
        }
    }
}
