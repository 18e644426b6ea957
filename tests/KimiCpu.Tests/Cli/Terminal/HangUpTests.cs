// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class HangUpTests
{
    /// <summary>As where a drive does not answer: nothing else would end the program.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_command_that_does_not_come_to_its_end_is_ended_by_the_signal(CancellationToken cancellationToken)
    {
        using var cancellation = new CancellationTokenSource();
        using var hangUp = new HangUp(cancellation, TimeSpan.FromMilliseconds(50));
        Assert.That(await Task.Run(hangUp.TryCancel, CancellationToken.None).WaitAsync(cancellationToken), Is.False);
        Assert.That(() => cancellation.IsCancellationRequested, Is.True.After(30_000, 5));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_command_that_comes_to_its_end_ends_the_program_itself(CancellationToken cancellationToken)
    {
        using var cancellation = new CancellationTokenSource();
        using var hangUp = new HangUp(cancellation, Timeout.InfiniteTimeSpan);
        using CancellationTokenRegistration command = cancellation.Token.Register(hangUp.Dispose);
        Assert.That(await Task.Run(hangUp.TryCancel, CancellationToken.None).WaitAsync(cancellationToken), Is.True);
        Assert.That(hangUp.TryCancel(), Is.False, "there is no command any more");
    }
}
