// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Options;

namespace KimiCpu.Server.Answers;

/// <summary>The model that is served, by its names.</summary>
/// <param name="host">Opens it.</param>
/// <param name="options">Its further names, and limits.</param>
/// <param name="turns">In which schemas are compiled.</param>
/// <param name="memory">Of what was answered.</param>
internal sealed class ServedModel(ModelHost host, IOptions<KimiServerOptions> options, SchemaTurns turns, AnswerMemory memory)
{
    /// <summary>What Ollama's clients put behind a name that has no tag.</summary>
    public const string Tag = ":latest";

    private readonly FormatReader _formats = new();

    public string Name => host.ModelName;

    /// <inheritdoc cref="ModelHost.IsReadyForCalls"/>
    public bool IsReadyForCalls(out ModelState state) => host.IsReadyForCalls(out state);

    /// <inheritdoc cref="ModelHost.IfOpen"/>
    public IKimiModel? IfOpen(out ModelState state) => host.IfOpen(out state);

    /// <summary>When the server began to offer it.</summary>
    public DateTimeOffset Since { get; } = DateTimeOffset.UtcNow;

    /// <summary>The model; waits while it is being opened.</summary>
    /// <exception cref="RequestException">It cannot be opened; the log says why.</exception>
    public async Task<IKimiModel> OpenAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await host.OpenAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not (OperationCanceledException or ObjectDisposedException))
        {
            throw NotAvailable("The model could not be opened; the server's log says why.");
        }
    }

    /// <summary>The model was open and can run no call any more, which its log has told once.</summary>
    public static RequestException Lost() => NotAvailable("The model was lost and can run no call any more; the server's log says why. The server has to be started again.");

    /// <summary>Whether a request's name means this model. Ollama's clients add a tag.</summary>
    public bool Is(string? name) => name is null
        || Matches(name)
        || (name.EndsWith(Tag, StringComparison.Ordinal) && Matches(name[..^Tag.Length]));

    /// <exception cref="RequestException">The name means no model of this server.</exception>
    public void Require(string? name)
    {
        if (!Is(name))
        {
            throw new RequestException(StatusCodes.Status404NotFound, $"The model '{Shorten(name!)}' does not exist; this server has '{Name}'.", "model", "model_not_found");
        }
    }

    /// <summary>Reads a request, and compiles the schema that its answer is to be held to.</summary>
    /// <param name="call">Whose.</param>
    /// <param name="body">Of the request.</param>
    /// <param name="read">Reads it.</param>
    public Task<T> ReadAsync<T>(ServerCall call, JsonElement body, Func<RequestParts, T> read)
    {
        var parts = new RequestParts(options.Value, _formats, call.Cancelled);
        return turns.RunAsync(SchemaTurns.HasFormat(body), () => Task.FromResult(read(parts)), call.Cancelled);
    }

    /// <summary>Tokens of a request's prompt, with the answers in it as the model wrote them.</summary>
    public async Task<int[]> EncodeAsync(AnswerRequest request, CancellationToken cancellationToken)
    {
        IKimiModel model = await OpenAsync(cancellationToken).ConfigureAwait(false);
        return model.EncodePrompt(Recalled(request).Messages!, request.Options, cancellationToken);
    }

    /// <summary>Begins the answers to a request. What is wrong with it is thrown here, before anything is sent.</summary>
    public async Task<RunningAnswers> BeginAsync(AnswerRequest request, CancellationToken cancellationToken)
    {
        KimiServerOptions limits = options.Value;
        if (request.Total > limits.MaxChoices)
        {
            throw new RequestException(StatusCodes.Status400BadRequest, $"The request asks for {request.Total} answers; this server gives at most {limits.MaxChoices}.", "n", "invalid_value");
        }

        if (request.Options is { Constraint: not null, IgnoreEndOfText: true })
        {
            throw new RequestException(StatusCodes.Status400BadRequest, "An answer with a format ends where the format does, so ignore_eos has to be false beside it.", "ignore_eos", "invalid_value");
        }

        IKimiModel model = await OpenAsync(cancellationToken).ConfigureAwait(false);

        var answers = new RunningAnswers(model, Recalled(request), memory, cancellationToken);
        try
        {
            // The schemas of tools are compiled with the first answer that has them.
            await turns.RunAsync(request.Options.Tools.Count > 0, () => answers.BeginAsync(limits.MaxTokens), cancellationToken).ConfigureAwait(false);
            return answers;
        }
        catch
        {
            // Not within the turn, for which others wait.
            await answers.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Where calls share nothing, nothing of an answer is found in the cache, and nobody is to learn what others were answered.</summary>
    private AnswerRequest Recalled(AnswerRequest request) => host.SharesPrompts ? memory.Recall(request) : request;

    private static RequestException NotAvailable(string message) => new(StatusCodes.Status503ServiceUnavailable, message, code: "model_not_available") { RetryAfter = 30 };

    private static string Shorten(string name) => name.Length <= 80 ? name : $"{name[..80]}…";

    private bool Matches(string name) => name.Equals(Name, StringComparison.OrdinalIgnoreCase)
        || options.Value.ModelNames.Any(n => n == "*" || n.Equals(name, StringComparison.OrdinalIgnoreCase));
}
