// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

[TestFixture]
internal sealed class DrivePatienceTests
{
    /// <summary>However long somebody has waited for all of what he wants.</summary>
    [Test]
    public void Counts_from_the_last_answer()
    {
        var patience = new DrivePatience(TimeSpan.FromHours(1));
        long early = Stopwatch.GetTimestamp() - (2 * 3600 * Stopwatch.Frequency);
        patience.NoteAnswer();
        Assert.That(patience.LeftSince(early), Is.GreaterThan(TimeSpan.Zero));
    }

    [Test]
    public void Ends()
    {
        var patience = new DrivePatience(TimeSpan.Zero);
        Assert.That(patience.LeftSince(Stopwatch.GetTimestamp()), Is.EqualTo(TimeSpan.Zero));
    }
}
