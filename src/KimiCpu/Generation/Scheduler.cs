// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>
/// Decides between steps which calls run and what each one does in the next step. All answers move in every step, and
/// <see cref="PromptShares"/> divides the prompt tokens that it takes in. A call whose text another one is computing waits
/// for its pages. When pages run out the call that came last gives its own to the others and goes on later from what it had.
/// Ends calls that are cancelled, too old, or without hope of room. Has no thread; all but <see cref="ThrowIfFull"/> is one thread's.
/// </summary>
internal sealed class Scheduler
{
    /// <summary>Later calls that may begin before one for which there is no room.</summary>
    private const int MostPasses = 8;

    /// <summary>What the owner of a session may take to dispose of it after its call, of whose end he hears on a thread of his own, before others fail for want of its pages.</summary>
    private static readonly TimeSpan s_disposal = TimeSpan.FromMilliseconds(250);

    private readonly SchedulingOptions _options;
    private readonly TimeProvider _time;
    private readonly QueueEstimate _estimate;
    private readonly IPageTier? _tier;
    private readonly List<ScheduledCall> _waiting = [];
    private readonly List<ScheduledCall> _running = [];
    private readonly List<ScheduledCall> _moving = [];
    private readonly List<ScheduledCall> _entering = [];
    private KvCache _cache;
    private ScheduledCall? _prepared;
    private PromptPace _pace;
    private PromptShares _shares;
    private long _arrived;
    private (KvCache? Cache, long Uses, long Arrived) _noted;
    private long? _sessionCallEnded;
    private Func<bool> _othersMayReturn = () => false;
    private volatile int _count;

    /// <param name="cache">Of all calls.</param>
    /// <param name="prefillChunk">Most prompt tokens of a step.</param>
    /// <param name="options">Checked.</param>
    /// <param name="time">What limits are measured by.</param>
    /// <param name="efficientPart">Of a prompt; see <see cref="PromptShares"/>.</param>
    /// <param name="tier">Where pages may be that the cache has given up; null where they are nowhere.</param>
    public Scheduler(KvCache cache, int prefillChunk, SchedulingOptions options, TimeProvider time, int efficientPart = 1, IPageTier? tier = null)
    {
        _tier = tier;
        _cache = cache;
        _options = options;
        _shares = new PromptShares(efficientPart);
        _pace = PaceOf(prefillChunk, efficientPart);
        _time = time;
        _estimate = new QueueEstimate(time);
    }

    /// <summary>Those that hold pages, in the order of their arrival.</summary>
    public IReadOnlyList<ScheduledCall> Running => _running;

    /// <summary>Those that do not, in the order of their arrival.</summary>
    public IReadOnlyList<ScheduledCall> Waiting => _waiting;

    public bool IsIdle => _count == 0;

    /// <summary>Refuses one more call where the queue is full. Callable from any thread.</summary>
    /// <param name="submitted">Calls that are on their way here.</param>
    /// <exception cref="KimiBusyException">It is full.</exception>
    public void ThrowIfFull(int submitted)
    {
        int calls = _count + submitted;
        if (calls >= (long)_options.MaxRunning + _options.MaxWaiting)
        {
            throw Busy($"{calls:N0} calls run or wait, as many as SchedulingOptions.MaxRunning ({_options.MaxRunning:N0}) and MaxWaiting ({_options.MaxWaiting:N0}) allow.", calls);
        }
    }

    public void Add(ScheduledCall call)
    {
        if (_count == 0)
        {
            _estimate.Begin();
        }

        call.Number = _arrived++;
        call.Arrival = call.Arrival == 0 ? _time.GetTimestamp() : call.Arrival;
        _waiting.Add(call);
        _count++;
    }

    /// <summary>Ends a running call.</summary>
    /// <param name="call">Is forgotten.</param>
    /// <param name="tell">Tells its caller the result.</param>
    public void End<TCall>(TCall call, Action<TCall> tell)
        where TCall : ScheduledCall
    {
        _running.Remove(call);
        _moving.Remove(call);
        _estimate.NoteEnd();
        Leave(call, tell);
    }

    /// <summary>Decides the next step.</summary>
    /// <param name="pagesMayReturn">Whether somebody holds pages who is no call and may give them back before long: nobody fails for want of them then. Asked when it matters, since a call that ends here may leave its session's old pages to be given back.</param>
    /// <returns>The calls that move, in the order of their arrival; the rows of each are said by it. None where all wait for such pages.</returns>
    public IReadOnlyList<ScheduledCall> Plan(Func<bool> pagesMayReturn)
    {
        _othersMayReturn = pagesMayReturn;
        EndLate(_waiting);
        EndLate(_running);
        NoteNeeds();
        Admit();
        EndThoseThatWaitTooLong();
        MoveAnswers();
        ShareOut();
        _moving.Clear();
        _moving.AddRange(_running.Where(c => c.StepRows > 0));
        _prepared = null;
        return _moving;
    }

    /// <summary>Learns how long the step took that was planned last.</summary>
    public void NoteStep(TimeSpan time)
    {
        if (_moving.Exists(c => c.StepDecodes))
        {
            _pace.Note(_moving.Where(c => !c.StepDecodes).Sum(c => c.StepRows), time);
        }
    }

    /// <summary>Ends all calls.</summary>
    public void FailAll(Exception error)
    {
        foreach (ScheduledCall call in _running.Concat(_waiting))
        {
            call.Fail(error);
        }

        _running.Clear();
        _waiting.Clear();
        _moving.Clear();
        _count = 0;
    }

    /// <summary>Ends the call for which the plan that failed was taking or copying pages; the others are as they were before it.</summary>
    public void FailPrepared(Exception error)
    {
        if (_prepared is { } call && (_running.Remove(call) || _waiting.Remove(call)))
        {
            Leave(call, c => c.Fail(error));
        }

        _prepared = null;
    }

    /// <summary>Ends the calls that have begun, those that gave way too; the others go on waiting.</summary>
    private void FailBegun(Exception error)
    {
        foreach (List<ScheduledCall> calls in new[] { _running, _waiting })
        {
            for (int i = calls.Count - 1; i >= 0; i--)
            {
                ScheduledCall call = calls[i];
                if (HasBegun(call))
                {
                    calls.RemoveAt(i);
                    Leave(call, c => c.Fail(error));
                }
            }
        }

        _moving.Clear();
    }

    /// <summary>Goes on with another cache.</summary>
    /// <param name="cache">Empty.</param>
    /// <param name="prefillChunk">Most prompt tokens of a step from here on.</param>
    /// <param name="efficientPart">As far as the device of this cache is concerned.</param>
    /// <param name="error">For the calls that have begun with the one before.</param>
    public void MoveTo(KvCache cache, int prefillChunk, int efficientPart, Exception error)
    {
        FailBegun(error);
        _cache = cache;
        _shares = new PromptShares(efficientPart);
        _pace = PaceOf(prefillChunk, efficientPart);

        // What they were refused for was the other one's room.
        _waiting.ForEach(c => c.IsRefused = false);
    }

    private static KimiBusyException Busy(string what, TimeSpan retryAfter) =>
        new($"{what} Try again in about {retryAfter.TotalSeconds:F0} s.") { RetryAfter = retryAfter };

    private KimiBusyException Busy(string what, int waiting) => Busy(what, _estimate.RetryAfter(waiting));

    /// <summary>Knows nothing of times yet.</summary>
    private PromptPace PaceOf(int prefillChunk, int efficientPart) =>
        new(prefillChunk, _options.MaxTokenGap == Timeout.InfiniteTimeSpan ? null : _options.MaxTokenGap, efficientPart, _options.SparsePart);

    private static bool HasBegun(ScheduledCall call) => call.Sequence is not null || call.IsPaused;

    /// <summary>Counts a call out and then tells its caller, who may call again at once and must find the place free; one who has cancelled may know before that, and find it taken.</summary>
    private void Leave<TCall>(TCall call, Action<TCall> tell)
        where TCall : ScheduledCall
    {
        _count--;
        if (call.Session is not null && HasBegun(call))
        {
            // Others would have it renewed for ever where they come and are cancelled all the time.
            _sessionCallEnded = _time.GetTimestamp();
        }

        try
        {
            tell(call);
        }
        catch (Exception e)
        {
            // FailAll does not know the call any more, and its caller must not wait forever.
            call.Fail(e);
            throw;
        }
    }

    /// <summary>Ends those that nobody waits for any more, or that have taken too long.</summary>
    private void EndLate(List<ScheduledCall> calls)
    {
        for (int i = calls.Count - 1; i >= 0; i--)
        {
            ScheduledCall call = calls[i];
            if (ReasonToEnd(call) is { } reason)
            {
                calls.RemoveAt(i);
                EndEarly(call, reason);
            }
        }
    }

    /// <summary>Whether a call ends before the next step, whatever this one computes for it.</summary>
    public bool IsOver(ScheduledCall call) => ReasonToEnd(call) is not null;

    private void EndEarly(ScheduledCall call, Exception reason) => Leave(call, c => c.End(_cache, reason));

    private Exception? ReasonToEnd(ScheduledCall call)
    {
        TimeSpan age = _time.GetElapsedTime(call.Arrival);
        if (call.CancellationToken.IsCancellationRequested)
        {
            return new OperationCanceledException(call.CancellationToken);
        }

        return !call.HasTime && age > _options.MaxCallTime
            ? new TimeoutException($"The call has taken {age.TotalSeconds:F1} s, and SchedulingOptions.MaxCallTime allows {_options.MaxCallTime.Value.TotalSeconds:F1} s.")
            : null;
    }

    /// <summary>
    /// Behind <see cref="Admit"/>, since whom one long step has kept from beginning may begin where there is room. One for which there is none goes first, and those behind it are
    /// looked at again. Who waits for what a running call computes has chosen that itself.
    /// </summary>
    private void EndThoseThatWaitTooLong()
    {
        while (_running.Count < _options.MaxRunning && _waiting.Find(c => c.IsRefused && HasWaitedTooLong(c) && !AwaitsAnother(c)) is { } refused)
        {
            EndWaiting(refused);
            Admit();
        }

        foreach (ScheduledCall call in _waiting.FindAll(c => HasWaitedTooLong(c) && (_running.Count >= _options.MaxRunning || !AwaitsAnother(c))))
        {
            EndWaiting(call);
        }
    }

    private bool HasWaitedTooLong(ScheduledCall call) =>
        call is { HasTime: false, IsPaused: false, Sequence: null } && _time.GetElapsedTime(call.Arrival) > _options.MaxQueueTime;

    private void EndWaiting(ScheduledCall call)
    {
        KimiBusyException reason = Busy(
            $"The call has waited for {_time.GetElapsedTime(call.Arrival).TotalSeconds:F1} s, {_waiting.Count:N0} wait and {_running.Count:N0} run, and SchedulingOptions.MaxQueueTime allows {_options.MaxQueueTime!.Value.TotalSeconds:F1} s.",
            _waiting.Count);
        _waiting.Remove(call);
        EndEarly(call, reason);
    }

    /// <summary>
    /// Has the cache give up what nobody waits for before what waiting calls begin with, and of that what the last of them need before what the first do: they would compute it
    /// again. Nothing is done where neither calls have come nor pages been left since.
    /// </summary>
    private void NoteNeeds()
    {
        PrefixTree prefixes = _cache.Prefixes;
        if (_waiting.Count > 0 && _cache.KeepsPrefixes && _noted != (_cache, prefixes.Uses, _arrived))
        {
            prefixes.NoteNeeded(_waiting.Select(c => c.LastKnown(_cache)));
            _noted = (_cache, prefixes.Uses, _arrived);
        }
    }

    /// <summary>Lets waiting calls in, in order, as long as their texts have room. Some may pass one that has none, but not for ever.</summary>
    private void Admit()
    {
        int blocked = 0;
        int held = 0;
        bool mayPass = true;
        for (int i = 0; i < _waiting.Count && mayPass && _running.Count + held < _options.MaxRunning;)
        {
            ScheduledCall call = _waiting[i];
            if (AwaitsAnother(call))
            {
                // Without a place it would be late. It is not for want of room that it waits.
                held += HasWaitedTooLong(call) ? 1 : 0;
                call.IsRefused = false;
                i++;
            }
            else if (HasRoom(call))
            {
                foreach (ScheduledCall passed in _waiting.Take(i).Where(c => c.IsRefused))
                {
                    mayPass &= ++passed.Passed < MostPasses;
                }

                _waiting.RemoveAt(i);
                InOrder(_running, call);
                call.Passed = 0;
                call.Reading = _tier?.Begin(call);
            }
            else if (TryCutSession(call))
            {
                // It is looked at again before anybody else: what its session has given up is for it, and goes before what others begin with. Where that is being saved it goes on below.
                NoteNeeds();
            }
            else if (_running.Count == 0 && !PagesMayReturn())
            {
                // Nobody is there who would give pages back.
                _waiting.RemoveAt(i);
                Leave(call, c => c.Fail(new ContextLengthException(
                    $"A prompt of {c.Prompt.Length:N0} tokens {(c.IsPaused ? $"and the {c.Text.Length - c.Prompt.Length:N0} answered so far need" : "needs")} more pages than the {_cache.FreePages} of {_cache.PageCapacity} ({KvPage.Tokens} tokens each) that open sessions leave of the cache budget. "
                    + $"{(c.IsPaused ? "Set MaxTokens, dispose" : "Dispose")} sessions, or {_cache.MoreRoom}.")));
            }
            else
            {
                mayPass = call.Passed < MostPasses && ++blocked < MostPasses;
                i++;
            }
        }
    }

    /// <summary>
    /// Has the session of a call without room give up what the call would replace at its end, where that is enough. Nobody will read it again, so the call waits for no other
    /// one's pages instead, and holds up nobody meanwhile.
    /// </summary>
    private bool TryCutSession(ScheduledCall call)
    {
        int missing = call.PagesToBegin(_cache) + Reserve() - _cache.FreePages;
        return missing > 0 && TryCutSession(call, missing);
    }

    /// <summary>Another call of the session that waits may begin with what would be given up: only where nobody else runs it has to compute that again.</summary>
    private bool TryCutSession(ScheduledCall call, int missing) =>
        (_running.TrueForAll(c => c == call) || !_waiting.Exists(c => c != call && c.Session is not null && c.Session == call.Session))
        && call.TryCutSession(_cache, missing);

    /// <summary>Pages that stay free when a call begins: one for each running answer that may need one more.</summary>
    private int Reserve() => _running.Count(c => c.MayGrow);

    /// <summary>Whether pages that no call holds may be given back before long, so that nobody fails for want of them yet.</summary>
    private bool PagesMayReturn() => (_sessionCallEnded is { } ended && _time.GetElapsedTime(ended) < s_disposal) || _othersMayReturn();

    /// <summary>Whether a running call is computing pages that this one begins with.</summary>
    private bool AwaitsAnother(ScheduledCall call)
    {
        if (!_cache.KeepsPrefixes)
        {
            return false;
        }

        if (call.Awaits is not { } known || !IsComputing(known.Call, known.Tokens))
        {
            call.Awaits = null;
            foreach (ScheduledCall other in _running)
            {
                // The last token is left to be computed, and only whole pages are shared meanwhile.
                int common = other.TextDone ? 0 : other.Text.AsSpan().CommonPrefixLength(call.Text.AsSpan(0, call.Text.Length - 1)) / KvPage.Tokens * KvPage.Tokens;
                if (common > (call.Awaits?.Tokens ?? 0) && IsComputing(other, common))
                {
                    call.Awaits = (other, common);
                }
            }
        }

        return call.Awaits is not null;
    }

    private static bool IsComputing(ScheduledCall other, int tokens) => other.Sequence is { } sequence && sequence.Length < tokens && !other.TextDone;

    /// <summary>Takes pages for a call's text, where a page more remains for each running answer that may need one.</summary>
    private bool HasRoom(ScheduledCall call)
    {
        int reserve = Reserve();
        _prepared = call;

        // What it is given may still be less: where memory ends there are fewer pages than there were to be.
        call.IsRefused = call.PagesToBegin(_cache) > _cache.FreePages - reserve || !call.TryPrepare(_cache, reserve);
        return !call.IsRefused;
    }

    /// <summary>A row for every answer, the oldest first; who needs a page when none is left gets it from the youngest.</summary>
    private void MoveAnswers()
    {
        for (int i = 0; i < _running.Count; i++)
        {
            ScheduledCall call = _running[i];
            (call.StepRows, call.StepDecodes) = (0, false);
            if (call.TextDone && FindPage(call))
            {
                (call.StepRows, call.StepDecodes) = (1, true);
            }
        }
    }

    private bool FindPage(ScheduledCall call)
    {
        _prepared = call;
        while (!call.Sequence!.TryExtend(1))
        {
            if (TryCutSession(call, missing: 1))
            {
                // Its session keeps pages that nobody will read again, so nobody is paused for one.
                continue;
            }

            ScheduledCall youngest = _running[^1];
            if (_running.Count == 1 && PagesMayReturn())
            {
                return false;
            }

            if (_running.Count == 1)
            {
                // Its session keeps what it has, or no page would become free.
                _running.Clear();
                Leave(call, c => c.Fail(new ContextLengthException(
                    $"The cache budget of {_cache.PageCapacity} pages ({(long)_cache.PageCapacity * KvPage.Tokens:N0} tokens) is used up by this call and the open sessions. "
                    + $"Set MaxTokens, dispose sessions, or {_cache.MoreRoom}.")));
                return false;
            }

            youngest.Pause(_cache);
            _running.RemoveAt(_running.Count - 1);
            InOrder(_waiting, youngest);
            if (youngest == call)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Divides the step's prompt tokens among the calls whose texts are not in the cache yet.</summary>
    private void ShareOut()
    {
        int budget = _pace.Tokens(_running.Exists(c => c.StepDecodes));
        int pace = _pace.Tokens(answersRun: true);

        // A copy of a page that failed has left some, which may have ended since.
        _entering.Clear();
        foreach (ScheduledCall call in _running.Where(c => !c.TextDone && !c.IsReading))
        {
            _prepared = call;
            call.Adopt();
            call.NoteMissing();
            _entering.Add(call);
        }

        foreach (ScheduledCall waiter in _waiting)
        {
            if (waiter.Awaits is { } known && IsComputing(known.Call, known.Tokens))
            {
                known.Call.NoteWaiter(waiter);
            }
        }

        _shares.Divide(_entering, budget, pace);
        _entering.Clear();
    }

    private static void InOrder(List<ScheduledCall> calls, ScheduledCall call)
    {
        int place = calls.FindIndex(c => c.Number > call.Number);
        calls.Insert(place < 0 ? calls.Count : place, call);
    }
}
