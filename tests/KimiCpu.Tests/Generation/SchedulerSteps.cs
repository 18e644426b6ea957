// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>Does what the engine does, but for computing.</summary>
internal sealed class SchedulerSteps
{
    private readonly int _prefillChunk;

    public SchedulerSteps(int pages, int prefillChunk, SchedulingOptions? options = null, bool keepsPrefixes = true, int efficientPart = 1, IPageTier? tier = null)
    {
        _prefillChunk = prefillChunk;
        Cache = new KvCache(HotPath, pages, 100_000, keepsPrefixes);
        Scheduler = new Scheduler(Cache, prefillChunk, options ?? new SchedulingOptions(), Time, efficientPart, tier);
    }

    public ObservedHotPath HotPath { get; } = new();

    public KvCache Cache { get; private set; }

    public Scheduler Scheduler { get; }

    public ManualTime Time { get; } = new();

    /// <summary>What the engine says of those who save sessions.</summary>
    public bool PagesMayReturn { get; set; }

    /// <summary>Rows of prompts so far.</summary>
    public int PromptRows { get; private set; }

    public static int[] Text(int seed, int length)
    {
        // Not two of them begin with the same token.
        var random = new Random(seed);
        return [seed, .. Enumerable.Range(1, length - 1).Select(_ => random.Next(1000))];
    }

    public FakeCall Add(int[] prompt, int maxTokens, CancellationToken cancellationToken = default) => Add(new FakeCall(prompt, maxTokens, cancellationToken));

    public FakeCall Add(FakeCall call)
    {
        Scheduler.Add(call);
        return call;
    }

    public void Run()
    {
        foreach (FakeCall call in Scheduler.Plan(() => PagesMayReturn).ToArray())
        {
            bool answers = call.StepAnswers;
            PromptRows += call.StepDecodes ? 0 : call.StepRows;
            call.Sequence!.Advance(call.StepTokens);
            if (!answers)
            {
                continue;
            }

            call.NextToken = 5000 + call.Tokens.Count;
            call.Tokens.Add(call.NextToken);
            if (call.Tokens.Count == call.MaxTokens)
            {
                Scheduler.End(call, c => c.Finish(Cache));
            }
        }
    }

    /// <summary>Runs a step.</summary>
    /// <returns>Rows that it took in of each call's prompt.</returns>
    public (int First, int Second) Parts(FakeCall first, FakeCall second)
    {
        (int one, int other, _) = Parts(first, second, second);
        return (one, other);
    }

    public (int First, int Second, int Third) Parts(FakeCall first, FakeCall second, FakeCall third)
    {
        int[] before = [.. new[] { first, second, third }.Select(Entered)];
        Run();
        int[] parts = [.. new[] { first, second, third }.Select((c, i) => Entered(c) - before[i])];
        return (parts[0], parts[1], parts[2]);

        static int Entered(FakeCall call) => call.Sequence?.Length ?? (call.Tokens.Count > 0 ? call.Prompt.Length : 0);
    }

    public void MoveTo(int pages, Exception error, int? prefillChunk = null)
    {
        Cache = new KvCache(new ObservedHotPath(), pages, 100_000);
        Scheduler.MoveTo(Cache, prefillChunk ?? _prefillChunk, efficientPart: 1, error);
    }

    public void RunAll()
    {
        for (int step = 0; !Scheduler.IsIdle; step++)
        {
            Assert.That(step, Is.LessThan(100_000), "calls that never end");
            Run();
        }
    }
}
