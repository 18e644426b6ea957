// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Encodings.Web;
using System.Text.Json;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Samples.Agent;

/// <summary>
/// A conversation in which the model may call functions: answers stream, calls and results are shown as they happen, reasoning
/// is dimmed. Where input or output are piped there is no reasoning, no prompt and no colour.
/// </summary>
public sealed class TerminalAgent
{
    /// <summary>Signs as they are; control characters stay escaped.</summary>
    private static readonly JsonSerializerOptions s_readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly IChatClient _client;
    private readonly ChatOptions _options;
    private readonly TextReader _input;
    private readonly TextWriter _output;
    private readonly bool _decorated;
    private readonly bool _coloured;
    private readonly List<ChatMessage> _history = [];
    private bool _dimmed;
    private bool _inLine;

    /// <param name="client">Answers, and invokes the functions.</param>
    /// <param name="options">For every answer, with the functions.</param>
    /// <param name="input">Questions, a line each.</param>
    /// <param name="output">Answers.</param>
    /// <param name="decorated">Whether a person sits at a terminal.</param>
    /// <param name="coloured">Whether the terminal shows dimmed text.</param>
    public TerminalAgent(IChatClient client, ChatOptions options, TextReader input, TextWriter output, bool decorated, bool coloured)
    {
        _client = client;
        _options = options;
        _input = input;
        _output = output;
        _decorated = decorated;
        _coloured = coloured;
    }

    /// <summary>The conversation so far.</summary>
    public IReadOnlyList<ChatMessage> History => _history;

    /// <summary>Runs until the input ends or <c>/exit</c>.</summary>
    /// <param name="begin">Gives an answer its cancellation.</param>
    /// <param name="end">Called when the answer has ended, however it did.</param>
    public async Task RunAsync(Func<CancellationTokenSource> begin, Action end)
    {
        while (true)
        {
            _output.Write(_decorated ? "\n> " : "");
            string? line = _input.ReadLine();
            if (line is null || line.Trim() == "/exit")
            {
                return;
            }

            if (line.Trim().Length > 0)
            {
                using CancellationTokenSource source = begin();
                try
                {
                    await AnswerAsync(line, source.Token);
                }
                finally
                {
                    // Before the source is disposed of, also where an answer that has failed ends a script.
                    end();
                }
            }
        }
    }

    private async Task AnswerAsync(string question, CancellationToken cancellationToken)
    {
        int before = _history.Count;
        _history.Add(new ChatMessage(ChatRole.User, question));
        try
        {
            List<ChatResponseUpdate> updates = [];
            await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync(_history, _options, cancellationToken))
            {
                updates.Add(update);
                foreach (AIContent content in update.Contents)
                {
                    Show(content);
                }
            }

            EndLine();
            _history.AddMessages(updates);
        }
        catch (Exception e) when (e is OperationCanceledException or ContextLengthException || (_decorated && e is not OutOfMemoryException))
        {
            // What was not finished is forgotten: half of a tool call cannot be continued. A person goes on with the rest of the conversation,
            // where a script is to hear of a failure by the program's end.
            _history.RemoveRange(before, _history.Count - before);
            EndLine();
            _output.WriteLine(e is OperationCanceledException ? "(stopped)" : Visible(e.Message));
        }
    }

    private void Show(AIContent content)
    {
        switch (content)
        {
            case TextReasoningContent reasoning when _decorated:
                Write(reasoning.Text, dimmed: true);
                break;
            case TextContent text:
                Write(text.Text, dimmed: false);
                break;
            case FunctionCallContent call:
                WriteLine($"-> {call.Name} {JsonSerializer.Serialize(call.Arguments, s_readable)}");
                break;
            case FunctionResultContent result:
                WriteLine($"<- {ResultText(result)}");
                break;
        }
    }

    private static string ResultText(FunctionResultContent result) => result.Result switch
    {
        AIContent part => PartText(part),
        IEnumerable<AIContent> parts => string.Join('\n', parts.Select(PartText)),
        var other => $"{other}",
    };

    private static string PartText(AIContent part) => part switch
    {
        DataContent data => $"({data.MediaType}, {data.Data.Length} bytes)",
        UriContent uri => $"({uri.MediaType} at {uri.Uri})",
        ErrorContent error => $"Error: {error.Message}",
        _ => $"{part}",
    };

    private void Write(string text, bool dimmed)
    {
        if (dimmed != _dimmed)
        {
            EndLine();
            _dimmed = dimmed;
            _output.Write(_coloured && dimmed ? "\u001b[2m" : "");
        }

        _output.Write(Visible(text));
        _output.Flush();
        _inLine |= text.Length > 0;
    }

    private void WriteLine(string text)
    {
        EndLine();
        _output.WriteLine(Visible(text));
    }

    private string Visible(string text) => _decorated ? VisibleText.Of(text) : text;

    private void EndLine()
    {
        _output.Write(_coloured && _dimmed ? "\u001b[0m" : "");
        _dimmed = false;
        if (_inLine)
        {
            _output.WriteLine();
            _inLine = false;
        }
    }
}
