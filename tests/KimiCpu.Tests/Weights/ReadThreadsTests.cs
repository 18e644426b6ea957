// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

[TestFixture]
internal sealed class ReadThreadsTests
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    [Test]
    public void Reads_behind_each_other_share_a_thread_that_ends_with_them()
    {
        List<Thread> threads = [];
        using (var reads = new ReadThreads())
        {
            for (int i = 0; i < 100; i++)
            {
                Assert.That(reads.Run(Number).WaitAsync(s_long).GetAwaiter().GetResult(), Is.EqualTo(i));
                int Number()
                {
                    threads.Add(Thread.CurrentThread);
                    return i;
                }
            }
        }

        Assert.That(threads.Distinct().Count(), Is.EqualTo(1));
        Assert.That(threads[0].Join(s_long), "it has ended");
    }

    [Test]
    public void A_read_that_does_not_end_holds_up_no_other_and_fails_by_itself()
    {
        using var answers = new ManualResetEventSlim();
        Thread? held = null;
        Task<int> silent;
        try
        {
            using var reads = new ReadThreads();
            silent = reads.Run<int>(() =>
            {
                held = Thread.CurrentThread;
                answers.Wait();
                throw new IOException("Gone.");
            });
            Assert.That(Enumerable.Range(0, 10).Select(i => reads.Run(() => i).WaitAsync(s_long).GetAwaiter().GetResult()), Is.EqualTo(Enumerable.Range(0, 10)));
            Assert.That(silent.IsCompleted, Is.False);
        }
        finally
        {
            answers.Set();
        }

        Assert.That(() => silent.WaitAsync(s_long).GetAwaiter().GetResult(), Throws.TypeOf<IOException>());
        Assert.That(held!.Join(s_long), "it has ended");
    }
}
