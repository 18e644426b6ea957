// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Server;

/// <summary>Who may ask the server, for how much, under which names, and what is done where a request does not say; in a form that configuration binds to.</summary>
public sealed class KimiServerOptions
{
    /// <summary>Keys of which each request has to bring one, as <c>Authorization: Bearer KEY</c> or <c>x-api-key: KEY</c>; of both, one is enough. None: everybody may ask.</summary>
    public IList<string> ApiKeys { get; init; } = [];

    /// <summary>Names that requests may give the model besides its own; <c>*</c> stands for any.</summary>
    public IList<string> ModelNames { get; init; } = [];

    /// <summary>
    /// Origins, such as <c>https://chat.example.com</c>, whose pages may ask. Browsers say which page asks; pages of the server
    /// itself always may, all others are refused. That browsers show such a page the answers takes the CORS middleware, too.
    /// </summary>
    public IList<string> AllowedOrigins { get; init; } = [];

    /// <summary>Most requests that are answered at once, waiting ones included; further ones get status 429. Default 64.</summary>
    public int MaxRequests { get; set; } = 64;

    /// <summary>Most bytes of a request's body. Default 16 MiB.</summary>
    public int MaxBodyBytes { get; set; } = 16 << 20;

    /// <summary>Most messages of a conversation. Default 4096.</summary>
    public int MaxMessages { get; set; } = 4096;

    /// <summary>Most tools of a request. Default 128.</summary>
    public int MaxTools { get; set; } = 128;

    /// <summary>Most bytes of a JSON Schema, of a tool or of the answer. Default 256 KiB.</summary>
    public int MaxSchemaBytes { get; set; } = 256 << 10;

    /// <summary>Most answers to one request (<c>n</c>, times the prompts of <c>/v1/completions</c>). Default 16.</summary>
    public int MaxChoices { get; set; } = 16;

    /// <summary>Most tokens of an answer, whatever the request says; null for as many as the context holds. Default null.</summary>
    public int? MaxTokens { get; set; }

    /// <summary>
    /// Temperature of answers whose request has none, 0 … 100; null for that of <see cref="GenerationOptions"/>, 0.6, which Moonshot AI advises for K2 Instruct. For K2 Thinking
    /// it advises 1. Default null.
    /// </summary>
    public float? Temperature { get; set; }

    /// <summary>The same of top-p, above 0, at most 1; null for that of <see cref="GenerationOptions"/>, 1. Default null.</summary>
    public float? TopP { get; set; }

    /// <summary>
    /// Longest silence of a streamed answer, which a long prompt or a queue may bring: then comes what says nothing, in most interfaces a comment, which clients
    /// of server-sent events skip. Above zero, at most a day, or <see cref="Timeout.InfiniteTimeSpan"/> for none. Default 15 seconds.
    /// </summary>
    public TimeSpan StreamKeepAlive { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>What an answer is asked for where its request says nothing.</summary>
    internal GenerationOptions Defaults()
    {
        var options = new GenerationOptions();
        return options with { Temperature = Temperature ?? options.Temperature, TopP = TopP ?? options.TopP };
    }

    /// <summary>How long the body of a request may take to arrive: it has its place among <see cref="MaxRequests"/> meanwhile.</summary>
    internal TimeSpan BodyTime { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How long running answers may go on once the server is told to stop; then they end with an error in their own form. At most a day. Default 10 seconds.
    /// The host's own time to stop, <c>HostOptions.ShutdownTimeout</c>, is made five seconds longer than this where it is less.
    /// </summary>
    public TimeSpan ShutdownGrace { get; set; } = TimeSpan.FromSeconds(10);
}
