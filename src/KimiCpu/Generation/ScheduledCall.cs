// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>What the scheduler knows of a call: its tokens, its pages, and its part of the step. Belongs to one thread from submission on.</summary>
/// <param name="prompt">Token ids, at least one.</param>
/// <param name="maxTokens">Most tokens of the answer; fits the context.</param>
/// <param name="cancellationToken">Looked at before every step.</param>
internal abstract class ScheduledCall(int[] prompt, int maxTokens, CancellationToken cancellationToken)
{
    private readonly int[] _nextToken = new int[1];

    /// <summary>How far somebody held the text when <see cref="LastHeld"/> was asked last, and in which cache.</summary>
    private (KvCache? Cache, CachedPage? Last) _held;

    /// <summary>How far the text was known when <see cref="LastKnown"/> was asked last, and in which cache.</summary>
    private (KvCache? Cache, CachedPage? Last) _known;

    public int[] Prompt { get; } = prompt;

    public int MaxTokens => maxTokens;

    public CancellationToken CancellationToken => cancellationToken;

    /// <summary>What must be in the cache before the answer goes on: the prompt and, after a pause, what was answered before it.</summary>
    public int[] Text { get; private set; } = prompt;

    /// <summary>Place in the order of arrival.</summary>
    public long Number { get; set; }

    /// <summary>Whether it may wait and run as long as it takes.</summary>
    public bool HasTime { get; init; }

    /// <summary>When it came, in the scheduler's time.</summary>
    public long Arrival { get; set; }

    /// <summary>Whether it has run before and gave way.</summary>
    public bool IsPaused { get; private set; }

    /// <summary>Later calls that went first since it found no room.</summary>
    public int Passed { get; set; }

    /// <summary>The running call that is computing the same text, and up to which token it is worth waiting for.</summary>
    public (ScheduledCall Call, int Tokens)? Awaits { get; set; }

    /// <summary>Whether there was no room for it when it was looked at last.</summary>
    public bool IsRefused { get; set; }

    /// <summary>The cached tokens; null until admitted.</summary>
    public KvSequence? Sequence { get; private set; }

    /// <summary>What of its text is being read from a slower place; null where nothing is.</summary>
    public IPageReading? Reading { get; set; }

    /// <summary>Whether it computes nothing, since pages of its text are being read.</summary>
    public bool IsReading => Reading is { IsOver: false };

    /// <summary>Whose tokens in the cache this call renews; null for a call that stands alone.</summary>
    public SessionState? Session { get; set; }

    /// <summary>Tokens of the prompt that were in the cache already.</summary>
    public int CachedTokens { get; private set; }

    /// <summary>Tokens of the prompt that were in the cache when the pages were given up, whoever computed them.</summary>
    public int PromptTokensIn { get; private set; }

    /// <summary>The token that the next step takes in, once the text is in.</summary>
    public int NextToken
    {
        get => _nextToken[0];
        set => _nextToken[0] = value;
    }

    /// <summary>First row of the call in the running step.</summary>
    public int StepFirstRow { get; set; }

    /// <summary>Rows of the call in the running step; 0 where it does not move.</summary>
    public int StepRows { get; set; }

    /// <summary>Tokens that are to be computed before the first call that hangs on this one answers: the call itself, or one that waits for the pages of a text they have in common.</summary>
    public int Needed { get; private set; }

    /// <summary>Those of them that are of this call's text.</summary>
    public int NeededOfText { get; private set; }

    /// <summary>Whether the running step takes in the token that was generated last.</summary>
    public bool StepDecodes { get; set; }

    /// <summary>Place of the call's logits among those of the step; -1 where it has none.</summary>
    public int StepLogits { get; set; }

    /// <summary>Tokens of the call in the running step.</summary>
    public ReadOnlySpan<int> StepTokens => StepDecodes ? _nextToken : Text.AsSpan(Sequence!.Length, StepRows);

    /// <summary>Whether the running step ends with a token whose successor is wanted.</summary>
    public bool StepAnswers => StepDecodes || (StepRows > 0 && Sequence!.Length + StepRows == Text.Length);

    public bool TextDone => Sequence is not null && Sequence.Length >= Text.Length;

    /// <summary>Tokens of the text that are still to be computed.</summary>
    public int Missing => Text.Length - Sequence!.Length;

    /// <summary>Whether the running step takes in the last of them.</summary>
    public bool StepEndsText => StepRows == Missing;

    /// <summary>Finds out what is <see cref="Needed"/>, as far as this call alone knows.</summary>
    public void NoteMissing() => Needed = NeededOfText = Missing;

    /// <summary>Adds a call that waits to those of which one is to answer first.</summary>
    public void NoteWaiter(ScheduledCall waiter)
    {
        int needed = waiter.Text.Length - Sequence!.Length;
        if (needed < Needed)
        {
            (Needed, NeededOfText) = (needed, waiter.Awaits!.Value.Tokens - Sequence.Length);
        }
    }

    /// <summary>Whether the rest of the answer may need a page more.</summary>
    public bool MayGrow => KvCache.PagesFor(Prompt.Length + MaxTokens) > Sequence!.Pages.Length;

    /// <summary>What was answered so far.</summary>
    protected abstract IReadOnlyList<int> Answered { get; }

    /// <summary>
    /// Free pages that the text takes, whether they are empty or known by it already: all but those that it shares with somebody who holds them. Whether there is room is known
    /// by this alone. Asked between steps of calls that wait, it walks no more of the text than has changed hands since it was asked before, and where calls share nothing what its session keeps beyond.
    /// </summary>
    public int PagesToBegin(KvCache cache) => KvCache.PagesFor(Text.Length) - (LastHeld(cache).End / KvPage.Tokens);

    /// <summary>The last page that the call would take or copy from if it began now, whoever holds it. As cheap as <see cref="PagesToBegin"/>.</summary>
    /// <param name="cache">One that keeps prefixes.</param>
    public CachedPage LastKnown(KvCache cache)
    {
        ReadOnlySpan<int> text = Text.AsSpan(..^1);
        CachedPage last = PrefixTree.LastKnown(text, _known.Cache == cache ? _known.Last! : cache.Prefixes.Root);
        _known = (cache, last);
        return PrefixTree.Find(last, text[last.End..], out CachedPage? begun) > 0 ? begun! : last;
    }

    /// <summary>Takes what the cache has of the text and room for the rest.</summary>
    /// <param name="cache">Of all calls.</param>
    /// <param name="reserve">Pages that stay free for others.</param>
    /// <returns>False, with nothing held and nothing given up that others could have used again, where there is no room.</returns>
    public bool TryPrepare(KvCache cache, int reserve)
    {
        Sequence = cache.CreateSequence(shares: cache.KeepsPrefixes || Session is not null);
        (CachedTokens, PromptTokensIn) = IsPaused ? (CachedTokens, PromptTokensIn) : (0, 0);
        AdoptFirst();
        if (!Sequence.TryExtend(Missing, reserve))
        {
            Release();
            return false;
        }

        AdoptFirst();
        return true;

        // Where calls share nothing, a session's call still goes on from the session.
        void AdoptFirst()
        {
            if (cache.KeepsPrefixes)
            {
                Adopt();
            }
            else if (Session?.HeldIn(cache) is { } own)
            {
                NoteCached(Sequence.Adopt(Text, own));
            }
        }
    }

    /// <summary>Has its session give up what the call does not begin with, and would replace at its end, where that makes enough room.</summary>
    /// <param name="cache">Of all calls.</param>
    /// <param name="missing">Free pages that it is short of, at least one; they come later where the session is being saved.</param>
    public bool TryCutSession(KvCache cache, int missing) => Session?.TryCut(cache, Sequence?.LastShared ?? LastHeld(cache), missing) == true;

    /// <summary>Takes what others have computed of the text meanwhile, where calls share.</summary>
    public void Adopt() => NoteCached(Sequence!.Adopt(Text));

    /// <summary>Takes in the next whole page of the text, between steps.</summary>
    /// <param name="reading">Which one has read it.</param>
    /// <param name="page">Of the text.</param>
    /// <param name="bytes">Its contents.</param>
    /// <returns>False, with nothing changed, where the call does not wait for it any more.</returns>
    public bool TakeIn(IPageReading reading, int page, ReadOnlySpan<byte> bytes)
    {
        if (Reading != reading || reading.IsOver || Sequence is not { } sequence || sequence.LastShared.End != page * KvPage.Tokens)
        {
            return false;
        }

        NoteCached(sequence.TakeIn(Text.AsSpan(page * KvPage.Tokens, KvPage.Tokens), bytes));
        return true;
    }

    /// <summary>Gives all pages to others. What was computed stays in the cache as long as there is room, and is computed again where it does not.</summary>
    public void Pause(KvCache cache)
    {
        NotePrompt();
        cache.Release(Sequence!.Leave());
        (Sequence, Reading) = (null, null);
        Text = [.. Prompt, .. Answered];
        IsPaused = true;
    }

    /// <summary>Ends the call without a result; what it has computed is good and stays in the cache. Its session goes on from there where the caller has cancelled, and from what it had where the call has failed.</summary>
    public void End(KvCache cache, Exception error)
    {
        if (Sequence is not null)
        {
            Leave(cache, error is OperationCanceledException ? Session : null);
        }

        Fail(error);
    }

    /// <summary>Ends the call without a result; what it has not shared is lost.</summary>
    public void Fail(Exception error)
    {
        Release();
        Tell(error);
    }

    /// <summary>Tells the caller that there is no result.</summary>
    protected abstract void Tell(Exception error);

    /// <summary>Before the caller hears of the end, so that its next call finds the tokens.</summary>
    protected void Leave(KvCache cache) => Leave(cache, Session);

    private void Leave(KvCache cache, SessionState? session)
    {
        NotePrompt();
        KvPrefix prefix = Sequence!.Leave();
        (Sequence, Reading) = (null, null);
        if (session is null)
        {
            cache.Release(prefix);
        }
        else
        {
            session.Renew(cache, prefix);
        }
    }

    /// <summary>The last page that it would share and that somebody holds. The last token is left to be computed.</summary>
    private CachedPage LastHeld(KvCache cache)
    {
        CachedPage root = cache.Prefixes.Root;
        CachedPage last = PrefixTree.LastHeld(Text.AsSpan(..^1), _held.Cache == cache ? _held.Last! : root);
        _held = (cache, last);

        // Where calls share nothing, a session's call still goes on from the session.
        return cache.KeepsPrefixes ? last : Session?.HeldIn(cache)?.Fork(last) ?? root;
    }

    /// <summary>Gives the pages back. What has not been shared is lost.</summary>
    public void Release()
    {
        NotePrompt();
        Sequence?.Dispose();
        (Sequence, Reading) = (null, null);
    }

    private void NotePrompt() => PromptTokensIn = Math.Min(Prompt.Length, Math.Max(PromptTokensIn, Sequence?.Length ?? 0));

    /// <summary>What a pause makes it find again is its own.</summary>
    private void NoteCached(int tokens) => CachedTokens += IsPaused ? 0 : tokens;
}
