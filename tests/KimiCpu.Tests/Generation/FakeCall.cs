// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>A call whose caller keeps what it hears.</summary>
internal sealed class FakeCall(int[] prompt, int maxTokens, CancellationToken cancellationToken) : ScheduledCall(prompt, maxTokens, cancellationToken)
{
    public List<int> Tokens { get; } = [];

    public Exception? Error { get; private set; }

    protected override IReadOnlyList<int> Answered => Tokens;

    /// <summary>What the caller does when it hears of the end.</summary>
    public Action? Told { get; set; }

    public void Finish(KvCache cache)
    {
        Leave(cache);
        Told?.Invoke();
    }

    protected override void Tell(Exception error)
    {
        Error = error;
        Told?.Invoke();
    }
}
