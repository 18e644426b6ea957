// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OpenTelemetry.Metrics;

namespace KimiCpu.Cli.Serve;

/// <summary>The program behind <c>kimi serve</c>: configuration, Kestrel, and the model's endpoints.</summary>
internal static class KimiServer
{
    private const int DefaultPort = 8080;
    private const int MostConnections = 1024;
    private const int MostHeaders = 64;
    private const int MostHeaderBytes = 16 << 10;

    /// <summary>What clients look for in answers, and browsers would hide from pages of other origins: a request's id, and when to ask again.</summary>
    private static readonly string[] s_exposed = ["x-request-id", "request-id", "Retry-After", "WWW-Authenticate"];

    /// <summary>How often it is seen whether the model can still run calls.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(5);

    /// <param name="file">Configuration; null for none.</param>
    /// <param name="settings">Of the command line.</param>
    /// <param name="streams">Told the address.</param>
    /// <param name="replace">Puts services of a test in the place of its own; null for none.</param>
    /// <param name="cancellationToken">Stops the server.</param>
    /// <exception cref="KimiException">The model was lost; only another process can open it again.</exception>
    public static async Task RunAsync(string? file, ServeSettings settings, CliStreams streams, Action<IServiceCollection>? replace, CancellationToken cancellationToken)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        string? source = ServeConfiguration.Read(builder.Configuration, file, settings, streams);
        IConfigurationSection server = builder.Configuration.GetSection(ServeConfiguration.Server);
        IConfigurationSection served = builder.Configuration.GetSection(ServeConfiguration.Model);
        string host = server["Host"] ?? "127.0.0.1";
        int port = PortOf(server["Port"]);
        string[] keys = KeysOf(server["ApiKeyFile"], streams);

        // Until the server listens, what fails is thrown too, and told by the command line. Of two rules for one name the later one counts, and that is the user's.
        bool listens = false;
        builder.Logging.AddFilter("Microsoft", level => level == LogLevel.Warning || (level > LogLevel.Warning && Volatile.Read(ref listens)));
        builder.Logging.AddConfiguration(builder.Configuration.GetSection(ServeConfiguration.Logging));
        ConsoleLog.AddTo(builder.Logging, streams);
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.MaxRequestHeaderCount = MostHeaders;
            kestrel.Limits.MaxRequestHeadersTotalSize = MostHeaderBytes;
            Listen(kestrel, host, port);
        });
        bool isModelSet = served["ModelPath"] is not null || served["Embedded"] is not null;
        builder.Services.AddKimi(served, model =>
        {
            model.Embedded |= !isModelSet;

            // A port that is in use should be told before anybody waits for a model.
            model.OpenAtStart = false;
        });
        builder.Services.AddOpenTelemetry().WithMetrics(m => m.AddMeter(KimiTelemetry.MeterName, "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel", "System.Runtime").AddPrometheusExporter());
        builder.Services.AddKimiServer(options =>
        {
            server.Bind(options);
            foreach (string key in keys)
            {
                options.ApiKeys.Add(key);
            }
        });
        bool local = host == "localhost" || IPAddress.IsLoopback(AddressOf(host));
        string?[] allowed = [.. server.GetSection(ServeConfiguration.AllowedHosts).GetChildren().Select(c => c.Value)];
        string[]? names = local || allowed.Length > 0 ? LocalNames.Of(host, allowed) : null;
        if (names is not null)
        {
            LocalNames.Filter(builder.Services, names);
        }

        builder.Services.AddCors();
        builder.Services.AddOptions<HostOptions>().Configure<IOptions<KimiServerOptions>>((o, s) => o.ShutdownTimeout = s.Value.ShutdownGrace + TimeSpan.FromSeconds(5));
        replace?.Invoke(builder.Services);
        await using WebApplication app = Checked(builder.Build);
        KimiServerOptions options = Checked(() =>
        {
            _ = app.Services.GetRequiredService<IOptions<KimiOptions>>().Value;
            return app.Services.GetRequiredService<IOptions<KimiServerOptions>>().Value;
        });
        if (names is not null)
        {
            LocalNames.Use(app);
        }

        if (options.AllowedOrigins.Count > 0)
        {
            app.UseCors(p => p.WithOrigins([.. options.AllowedOrigins]).AllowAnyHeader().AllowAnyMethod().WithExposedHeaders(s_exposed));
        }

        app.MapKimi();
        app.MapKimiPage();
        app.MapKimiFallback();
        app.MapPrometheusScrapingEndpoint("/metrics");
        if (!local && options.ApiKeys.Count == 0)
        {
            await streams.Error.WriteLineAsync($"Warning: whoever reaches {host} may use this server; --api-key-file asks for keys.");
        }

        if (source is not null && !isModelSet)
        {
            ServeLog.NoModelConfigured(app.Logger, source);
        }

        ModelHost modelHost = app.Services.GetRequiredService<ModelHost>();
        modelHost.IsOpenedByProgram = true;
        await StartAsync(app, host, port, cancellationToken);
        Volatile.Write(ref listens, true);
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, app.Lifetime.ApplicationStopping);
        try
        {
            IKimiModel model = await modelHost.OpenAsync(stopping.Token);
            await streams.Output.WriteLineAsync($"Serving {model.Info.Name} at {app.Urls.First()} (a page for browsers; OpenAI: {app.Urls.First()}/v1). Ctrl-C stops.");
            await streams.Output.FlushAsync(cancellationToken);
            await ThrowWhenLostAsync(model, stopping.Token);
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // It is told to stop, perhaps while the model is still being opened, which ends with the services.
        }
        finally
        {
            await app.StopAsync(CancellationToken.None);
        }
    }

    /// <summary>Goes on as long as the model can run calls. A process that could only refuse them ends: what watches it, such as systemd, starts another one.</summary>
    /// <exception cref="KimiException">The model was lost.</exception>
    private static async Task ThrowWhenLostAsync(IKimiModel model, CancellationToken cancellationToken)
    {
        using var looks = new PeriodicTimer(s_look);
        while (await looks.WaitForNextTickAsync(cancellationToken))
        {
            if (model.Activity.Failure is { } failure)
            {
                throw new KimiException(failure);
            }
        }
    }

    /// <exception cref="IOException">The server cannot listen there.</exception>
    private static async Task StartAsync(WebApplication app, string host, int port, CancellationToken cancellationToken)
    {
        try
        {
            await app.StartAsync(cancellationToken);
        }
        catch (Exception e) when (e is SocketException or IOException { InnerException: AddressInUseException or SocketException })
        {
            string address = $"http://{(host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host)}:{port}";
            throw new IOException((e is SocketException ? e : e.InnerException) switch
            {
                AddressInUseException => $"{address} is in use already, by another program or another kimi serve. --port takes another port, 0 for one that is free.",
                SocketException { SocketErrorCode: SocketError.AccessDenied } => $"{address} is not for this user to listen at; ports below 1024 most often are not. --port takes another port.",
                SocketException { SocketErrorCode: SocketError.AddressNotAvailable } => $"{address} is no address of this machine. --host takes one, 127.0.0.1 for this machine only, or 0.0.0.0 for all that it has.",
                var other => $"The server cannot listen at {address}: {other?.Message}. --host and --port take another address.",
            }, e);
        }
    }

    private static int PortOf(string? text) => text is null ? DefaultPort
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) && port <= IPEndPoint.MaxPort ? port
        : throw new FormatException($"--port, or Server:Port, takes 0 … {IPEndPoint.MaxPort}; found '{text}'.");

    private static IPAddress AddressOf(string host) => IPAddress.TryParse(host, out IPAddress? address)
        ? address
        : throw new FormatException($"--host, or Server:Host, takes an IP address or localhost; found '{host}'.");

    private static void Listen(KestrelServerOptions kestrel, string host, int port)
    {
        if (host == "localhost" && port != 0)
        {
            kestrel.ListenLocalhost(port);
        }
        else
        {
            kestrel.Listen(host == "localhost" ? IPAddress.Loopback : AddressOf(host), port);
        }
    }

    private static string[] KeysOf(string? file, CliStreams streams)
    {
        const string Option = "--api-key-file, or Server:ApiKeyFile,";
        if (file is null)
        {
            return [];
        }

        string[] keys = [.. InputFile.Read(Option, file, streams, File.ReadAllLines, bytes => Utf8Text.Of(bytes, $"{Option} '{file}'").Split('\n')).Select(l => l.Trim()).Where(l => l.Length > 0 && !l.StartsWith('#'))];

        // Without keys everybody might ask.
        return keys.Length > 0 ? keys : throw new ArgumentException($"{Option} takes a file with a key a line; '{file}' holds none.");
    }

    /// <summary>What is wrong with a setting is a sentence of the command line.</summary>
    private static T Checked<T>(Func<T> make)
    {
        try
        {
            return make();
        }
        catch (OptionsValidationException e)
        {
            throw new FormatException(string.Join(" ", e.Failures), e);
        }
        catch (InvalidOperationException e) when (e.InnerException is FormatException or ArgumentException)
        {
            // A setting that cannot be read as what it has to be.
            throw new FormatException(e.Message, e);
        }
    }
}
