// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>Calls whose sessions keep what the calls do not begin with, as reasoning that a prompt does not show any more. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerSessionTests
{
    /// <summary>It would wait as long as the others run, and hold up everybody behind it meanwhile.</summary>
    [Test]
    public void A_call_takes_what_its_session_gives_up_while_others_run([Values] bool keepsPrefixes)
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000, keepsPrefixes: keepsPrefixes);
        SessionState session = Session(steps, pages: 6);
        FakeCall running = steps.Add(Text(1, 100), 1000);
        steps.Run();
        FakeCall call = steps.Add(Next(350, 40, session));
        steps.Run();
        Assert.That((call.CachedTokens, call.Tokens.Count, running.Tokens.Count), Is.EqualTo((64, 1, 2)));
        Assert.That(session.Length, Is.EqualTo(64));
        steps.Run();
        Assert.That((call.Tokens.Count, running.Tokens.Count, running.IsPaused), Is.EqualTo((2, 3, false)));
        Assert.That(steps.Cache.FreePages, Is.EqualTo(10 - 6 - 2), "each page counts once");
    }

    [Test]
    public void What_would_not_be_enough_beside_running_calls_is_not_given_up()
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000);
        SessionState session = Session(steps, pages: 3);
        FakeCall running = steps.Add(Text(1, 300), 1);
        FakeCall call = steps.Add(Next(400, 40, session));
        steps.Run();
        Assert.That((running.Tokens.Count, call.Sequence, session.Length), Is.EqualTo((1, (KvSequence?)null, 3 * KvPage.Tokens)));
        steps.Run();
        Assert.That((call.Tokens.Count, session.Length), Is.EqualTo((1, 3 * KvPage.Tokens)), "there is other room now");
    }

    [Test]
    public void Nobody_is_paused_for_a_page_that_the_answer_s_session_can_give_up([Values] bool isYoungest, [Values] bool keepsPrefixes)
    {
        var steps = new SchedulerSteps(pages: 7, prefillChunk: 512, keepsPrefixes: keepsPrefixes);
        SessionState session = Session(steps, pages: 3);
        var other = new FakeCall(Text(2, 60), 60, CancellationToken.None);
        var call = new FakeCall(Text(1, 110), 60, CancellationToken.None) { Session = session };
        foreach (FakeCall next in isYoungest ? new[] { other, call } : [call, other])
        {
            steps.Add(next);
            steps.Run();
        }

        for (int i = 0; i < 30; i++)
        {
            steps.Run();
        }

        Assert.That((call.IsPaused, other.IsPaused), Is.EqualTo((false, false)));
        Assert.That((call.Tokens.Count, other.Tokens.Count, session.Length), Is.EqualTo(isYoungest ? (31, 32, 0) : (32, 31, 0)));
    }

    /// <summary>As with prompts whose experts are read from drives: a step takes longer than calls may wait.</summary>
    [Test]
    public void A_call_for_which_its_session_makes_room_begins_however_long_a_step_kept_it_waiting([Values] bool otherEnds)
    {
        var steps = new SchedulerSteps(pages: 8, prefillChunk: 1000, new SchedulingOptions { MaxQueueTime = TimeSpan.FromSeconds(1) });
        steps.Time.Advance(TimeSpan.FromSeconds(1));
        SessionState session = Session(steps, pages: 5);
        FakeCall other = steps.Add(Text(1, 150), otherEnds ? 1 : 30);
        long arrival = steps.Time.GetTimestamp();
        steps.Run();
        steps.Time.Advance(TimeSpan.FromSeconds(2));
        FakeCall call = Next(otherEnds ? 440 : 300, 3, session);
        call.Arrival = arrival;
        steps.Add(call);
        steps.Run();
        Assert.That((call.Error, call.Tokens.Count), Is.EqualTo(((Exception?)null, 1)));
        Assert.That(other.Tokens, Has.Count.EqualTo(otherEnds ? 1 : 2));
    }

    /// <summary>What a session keeps is never another one's, also where that has come before.</summary>
    [Test]
    public void What_a_session_gives_up_is_its_own_call_s()
    {
        var steps = new SchedulerSteps(pages: 8, prefillChunk: 1000) { PagesMayReturn = true };
        SessionState session = Session(steps, pages: 5);
        FakeCall first = steps.Add(Text(1, 380), 1);
        steps.Run();
        FakeCall call = steps.Add(Next(440, 3, session));
        steps.Run();
        Assert.That((call.Tokens.Count, first.Sequence, first.Error), Is.EqualTo((1, (KvSequence?)null, (Exception?)null)));
    }

    /// <summary>As where an application has a title made beside the next turn: of the two the longer one begins with all that the session keeps.</summary>
    [Test]
    public void What_another_call_of_the_session_waits_for_is_not_given_up([Values] bool isThere)
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000);
        SessionState session = Session(steps, pages: 6);
        steps.Add(Text(1, 100), 1000);
        steps.Run();
        FakeCall? turn = isThere ? steps.Add(new FakeCall([.. Text(9, 6 * KvPage.Tokens), .. Text(11, 192)], 3, CancellationToken.None) { Session = session }) : null;
        FakeCall title = steps.Add(Next(200, 3, session));
        steps.Run();
        Assert.That((turn?.Sequence, title.Tokens.Count), Is.EqualTo(((KvSequence?)null, isThere ? 0 : 1)));
        Assert.That(session.Length, Is.EqualTo(isThere ? 6 * KvPage.Tokens : KvPage.Tokens));
    }

    /// <summary>They are nobody's beginning any more.</summary>
    [Test]
    public void What_a_session_gives_up_goes_before_what_calls_in_the_queue_begin_with()
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000);
        steps.Add(Text(1, 192), 1);
        steps.RunAll();
        SessionState session = Session(steps, pages: 6);
        FakeCall call = steps.Add(Next(350, 3, session));
        FakeCall waiting = steps.Add([.. Text(1, 192), 7], 1);
        steps.Run();
        Assert.That((call.Tokens.Count, session.Length), Is.EqualTo((1, KvPage.Tokens)));
        Assert.That((waiting.Tokens.Count, waiting.CachedTokens), Is.EqualTo((1, 192)));
    }

    /// <summary>Pages of a text that has nothing but its beginning in common with the session's next prompts.</summary>
    private static SessionState Session(SchedulerSteps steps, int pages)
    {
        KvSequence sequence = steps.Cache.CreateSequence(shares: true);
        Assert.That(sequence.TryExtend(pages * KvPage.Tokens));
        sequence.Advance(Text(9, pages * KvPage.Tokens));
        return new SessionState(null!, steps.Cache, sequence.Leave());
    }

    /// <summary>The session's next call, which shares its first page.</summary>
    private static FakeCall Next(int length, int maxTokens, SessionState session) =>
        new([.. Text(9, KvPage.Tokens), .. Text(10, length - KvPage.Tokens)], maxTokens, CancellationToken.None) { Session = session };
}
