// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

[TestFixture]
internal sealed unsafe class PatientReadsTests
{
    private readonly List<(long Offset, nint Target, int Count)> _calls = [];

    [SetUp]
    public void Forget() => _calls.Clear();

    [TestCase(0, 1)]
    [TestCase(1, 2)]
    [TestCase(2, 3)]
    [CancelAfter(60_000)]
    public void A_read_that_fails_is_tried_three_times(int failures, int calls, CancellationToken cancellationToken)
    {
        Reads(failures, hasChanged: false).Read(8192, (byte*)64, 4096);
        Assert.That(_calls, Is.EqualTo(Enumerable.Repeat((8192L, (nint)64, 4096), calls)));
    }

    [Test]
    [CancelAfter(60_000)]
    public void A_drive_that_is_dead_is_not_asked_for_ever(CancellationToken cancellationToken)
    {
        Assert.That(() => Reads(int.MaxValue, hasChanged: false).Read(0, null, 4096), Throws.TypeOf<IOException>().With.Message.EqualTo("attempt 3"));
        Assert.That(_calls, Has.Count.EqualTo(3));
    }

    [Test]
    public void A_file_that_is_another_by_now_is_not_tried_again()
    {
        Assert.That(() => Reads(1, hasChanged: true).Read(0, null, 4096), Throws.TypeOf<IOException>().With.Message.EqualTo("attempt 1"));
        Assert.That(_calls, Has.Count.EqualTo(1));
    }

    [Test]
    public void What_is_no_failure_of_the_drive_is_not_tried_again()
    {
        int calls = 0;
        var reads = new PatientReads((_, _, _) => throw new ObjectDisposedException($"{++calls}"), () => false);
        Assert.That(() => reads.Read(0, null, 4096), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(calls, Is.EqualTo(1));
    }

    private PatientReads Reads(int failures, bool hasChanged) => new(
        (offset, target, count) =>
        {
            _calls.Add((offset, (nint)target, count));
            if (_calls.Count <= failures)
            {
                throw new IOException($"attempt {_calls.Count}");
            }
        },
        () => hasChanged);
}
