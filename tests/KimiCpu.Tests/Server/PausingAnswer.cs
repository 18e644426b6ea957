// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server;

/// <summary>A model that gives one answer again and again: reasoning, a text and a call. It pauses before each piece until somebody looks at what the machine does, as at <c>/kimi/machine</c>.</summary>
/// <param name="model">What else it is.</param>
/// <param name="end">Ends the pauses.</param>
internal sealed class PausingAnswer(KimiModel model, CancellationToken end) : IDisposable
{
    public const string Reasoning = "Hm.";
    public const string Text = "Hello";
    public const string Arguments = """{"city":"Oslo"}""";

    private static readonly GenerationUpdate[] s_pieces =
    [
        new() { Reasoning = Reasoning },
        new() { Text = Text[..3] },
        new() { Text = Text[3..] },
        new() { ToolCalls = [new ToolCallBegun(0, "call_1", "get_weather")] },
        new() { ToolCalls = [new ToolCallArguments(0, Arguments[..8])] },
        new() { ToolCalls = [new ToolCallArguments(0, Arguments[8..])] },
        new() { ToolCalls = [new ToolCallEnded(0, new KimiToolCall("call_1", "get_weather", Arguments), IsComplete: true)] },
        new(),
    ];

    private readonly CancellationTokenSource _end = CancellationTokenSource.CreateLinkedTokenSource(end);
    private readonly GenerationResult _result = model.Generate("Hi", new GenerationOptions { MaxTokens = 1 }, end);
    private volatile SemaphoreSlim? _looks;

    /// <summary>Starts a server with it, whose streams are silent for a moment at most.</summary>
    public Task<RunningServer> ServeAsync() => RunningServer.StartWithAsync(
        StandInModel.Of(model, member =>
        {
            if (member.Name == nameof(IKimiModel.CountExpertUses))
            {
                _looks?.Release();
            }

            return member.Name == nameof(IKimiModel.GenerateAsync) ? UpdatesAsync(_looks = new SemaphoreSlim(0), _end.Token) : null;
        }),
        o => o.StreamKeepAlive = TimeSpan.FromMilliseconds(10));

    /// <summary>Ends answers whose clients have given up.</summary>
    public void End() => _end.Cancel();

    public void Dispose() => _end.Dispose();

    private async IAsyncEnumerable<GenerationUpdate> UpdatesAsync(SemaphoreSlim looks, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        foreach (GenerationUpdate piece in s_pieces)
        {
            await looks.WaitAsync(cancellationToken);
            yield return piece == s_pieces[^1] ? piece with { Result = _result } : piece;
        }
    }
}
