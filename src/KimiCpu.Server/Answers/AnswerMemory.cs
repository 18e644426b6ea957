// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Server.Answers;

/// <summary>
/// What the model wrote its latest answers as: their tokens, and the text of their calls' arguments. Clients send an answer back as texts and JSON, which can be cut into other
/// tokens and written in other ways, so that the next prompt would part from the cache within it. An answer is known again only behind the very conversation, tools included, that it
/// was given to: whoever asks with that has all of what he could learn by it, as with the cache, though for longer. Safe to use from several threads.
/// </summary>
/// <param name="maxAnswers">Most that are kept; the ones go that were asked for longest ago.</param>
/// <param name="maxBytes">What they may take together, roughly.</param>
internal sealed class AnswerMemory(int maxAnswers = 16_384, long maxBytes = 64_000_000)
{
    /// <summary>Of an answer, besides its tokens and texts.</summary>
    private const int Overhead = 256;

    private readonly Lock _gate = new();
    private readonly Dictionary<UInt128, LinkedListNode<Written>> _byKey = [];
    private readonly LinkedList<Written> _latestFirst = new();

    /// <summary>Answers that are kept.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _byKey.Count;
            }
        }
    }

    /// <summary>What they take, roughly.</summary>
    public long Bytes { get; private set; }

    /// <summary>The request with the answers in it as the model wrote them, as far as they are known, and with the place that its own answers have.</summary>
    public AnswerRequest Recall(AnswerRequest request)
    {
        if (request.Messages is not { } messages)
        {
            return request;
        }

        using var keys = new ConversationKeys();
        UInt128 key = keys.Of(request.Options.Tools);
        UInt128[] upTo = [.. messages.Select(m => key = keys.Next(key, m))];
        Written?[] written = Find(messages, upTo);
        return request with { Messages = [.. messages.Select((m, i) => written[i] is { } own ? As(own, m) : m)], Place = key };
    }

    /// <summary>Keeps an answer for when it comes back.</summary>
    /// <param name="request">What it answers, as it was recalled.</param>
    /// <param name="result">The answer.</param>
    public void Keep(AnswerRequest request, GenerationResult result)
    {
        if (request.Place is not { } place)
        {
            return;
        }

        using var keys = new ConversationKeys();
        var written = new Written(keys.Next(place, result.ToMessage()), result.Tokens, [.. result.ToolCalls.Select(c => c.Arguments)]);
        lock (_gate)
        {
            if (_byKey.TryGetValue(written.Key, out LinkedListNode<Written>? before))
            {
                // The older one stays, though the model may have written this one in other tokens: conversations have gone on behind it, and would be computed anew.
                _latestFirst.Remove(before);
                _latestFirst.AddFirst(before);
                return;
            }

            _byKey.Add(written.Key, _latestFirst.AddFirst(written));
            Bytes += BytesOf(written);
            while (_byKey.Count > maxAnswers || Bytes > maxBytes)
            {
                Forget(_latestFirst.Last!);
            }
        }
    }

    /// <summary>Notes their use from the last one on, so that of a conversation which is given up the end goes first, as in the cache: what is before it is of use without it.</summary>
    private Written?[] Find(IReadOnlyList<KimiMessage> messages, UInt128[] upTo)
    {
        var found = new Written?[upTo.Length];
        lock (_gate)
        {
            for (int i = upTo.Length - 1; i >= 0; i--)
            {
                if (messages[i].Role == KimiRole.Assistant && _byKey.TryGetValue(upTo[i], out LinkedListNode<Written>? node))
                {
                    _latestFirst.Remove(node);
                    _latestFirst.AddFirst(node);
                    found[i] = node.Value;
                }
            }
        }

        return found;
    }

    /// <summary>Whether the tokens spell the texts is seen when the prompt is encoded. Arguments that say something else than the client's, such as by a digit that his numbers do not hold, stay his.</summary>
    private static KimiMessage As(Written written, KimiMessage message) => message with
    {
        GeneratedTokens = written.Tokens,
        ToolCalls = [.. message.ToolCalls.Zip(written.Arguments, (call, own) => IsSame(own, call.Arguments) ? call with { Arguments = own } : call)],
    };

    /// <summary>What is no JSON has the same key only where it is the same text.</summary>
    private static bool IsSame(string one, string other)
    {
        try
        {
            return one == other || JsonElement.DeepEquals(JsonElement.Parse(one), JsonElement.Parse(other));
        }
        catch (ArgumentOutOfRangeException)
        {
            // An exponent that is beyond .NET's.
            return false;
        }
    }

    private static long BytesOf(Written written) => Overhead + (written.Tokens.Count * (long)sizeof(int)) + (written.Arguments.Sum(a => (long)a.Length) * sizeof(char));

    private void Forget(LinkedListNode<Written> node)
    {
        _byKey.Remove(node.Value.Key);
        _latestFirst.Remove(node);
        Bytes -= BytesOf(node.Value);
    }

    /// <param name="Key">Of the conversation up to this answer and with it.</param>
    /// <param name="Tokens">All of the answer's.</param>
    /// <param name="Arguments">Of its calls, in order, as the model wrote them.</param>
    private sealed record Written(UInt128 Key, IReadOnlyList<int> Tokens, string[] Arguments);
}
