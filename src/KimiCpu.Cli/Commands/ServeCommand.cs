// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Cli.Serve;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi serve</c>: what the command line says goes over the environment, that over the file; lists are added to.</summary>
internal static class ServeCommand
{
    public const string Name = "serve";

    public static Command Make(CliStreams streams)
    {
        var model = new ModelOptions();
        var host = new Option<string?>("--host") { Description = "IP address to listen at, or localhost. Default: 127.0.0.1, this machine only.", HelpName = "ADDRESS" };
        var port = new Option<int?>("--port") { Description = "Port to listen at; 0 for a free one. Default: 8080.", HelpName = "N" };
        var keys = new Option<string?>("--api-key-file") { Description = "File with a key a line; each request then has to bring one of them.", HelpName = "FILE" };
        var names = new Option<string[]>("--model-name") { Description = "Another name that requests may give the model, beside those of --config; * for any. May be given several times.", HelpName = "NAME" };
        var hosts = new Option<string[]>("--allow-host") { Description = "Name of a host that requests may name, beside localhost and those of --config: that of a proxy before this server. At an address of the network only these names are answered then. May be given several times.", HelpName = "NAME" };
        var origins = new Option<string[]>("--allow-origin") { Description = "Origin whose pages may ask, beside those of --config, as https://chat.example.com. May be given several times.", HelpName = "ORIGIN" };
        var requests = new Option<int?>("--max-requests") { Description = "Most requests at once; others get status 429. Default: 64.", HelpName = "N" };
        var temperature = new Option<float?>("--temperature") { Description = "Temperature of answers whose request has none, 0 … 100. Default: 0.6.", HelpName = "T" };
        var topP = new Option<float?>("--top-p") { Description = "The same of top-p: only the most likely tokens that reach this probability, above 0, at most 1. Default: 1.", HelpName = "P" };
        var cache = new Option<string?>("--prompt-cache") { Description = "Folder on a drive that keeps what was computed of prompts, for conversations that go on later and over a restart. Its files hold the conversations. Default: none.", HelpName = "DIR" };
        var cacheSize = new Option<string?>("--prompt-cache-size") { Description = "Most that --prompt-cache may hold, 1GB or more; the least recently used goes first. Default: 50GB.", HelpName = "SIZE" };
        var config = new Option<string?>("--config") { Description = "JSON file with the sections Server, Model and Logging.", HelpName = "FILE" };
        var command = new Command(Name, "Serves the model over HTTP: the interfaces of OpenAI, Anthropic and Ollama, with streaming, tools and structured output. Ctrl-C stops it.") { host, port, keys, names, hosts, origins, requests, temperature, topP, cache, cacheSize, config };
        model.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            model.Check(parsed);
            var settings = new ServeSettings();
            settings.Set("Server:Host", parsed.GetValue(host));
            settings.Set("Server:Port", parsed.GetValue(port));
            settings.Set("Server:ApiKeyFile", parsed.GetValue(keys));
            settings.Set("Server:MaxRequests", parsed.GetValue(requests));
            settings.Set("Server:Temperature", parsed.GetValue(temperature));
            settings.Set("Server:TopP", parsed.GetValue(topP));
            settings.Add("Server:ModelNames", parsed.GetValue(names));
            settings.Add($"Server:{ServeConfiguration.AllowedHosts}", parsed.GetValue(hosts));
            settings.Add("Server:AllowedOrigins", parsed.GetValue(origins));
            settings.Set("Model:ModelPath", parsed.GetValue(model.Model));
            settings.Set("Model:Threads", parsed.GetValue(model.Threads));
            settings.Set("Model:TuneThreads", parsed.GetValue(model.TuneThreads));
            settings.Set("Model:ContextLength", model.ContextLength(parsed));
            settings.Set("Model:Exact", parsed.GetValue(model.Exact));
            settings.Set("Model:Int8HotPath", parsed.GetValue(model.Int8HotPath));
            settings.Set("Model:Device", parsed.GetValue(model.Device));
            settings.Set("Model:ExpertMemory", model.ExpertMemory.Bytes(parsed));
            settings.Set("Model:PreloadExperts", parsed.GetValue(model.PreloadExperts));
            settings.Set("Model:PromptCacheDirectory", parsed.GetValue(cache));
            settings.Set("Model:PromptCacheBytes", parsed.GetValue(cacheSize) is { } size ? (long)Quantity.Bytes(cacheSize.Name, size) : null);
            try
            {
                await KimiServer.RunAsync(parsed.GetValue(config), settings, streams, replace: null, cancellationToken);
                return KimiCommand.Ok;
            }
            catch (ServeConfigurationException e)
            {
                await streams.Error.WriteLineAsync(VisibleText.Of(e.Message));
                return KimiCommand.Usage;
            }
        });
        return command;
    }
}
