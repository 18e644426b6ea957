// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Tests.Model;

[TestFixture]
internal sealed class PrefixTreeTests
{
    private readonly List<int> _freed = [];
    private PrefixTree _tree = null!;

    [SetUp]
    public void Make()
    {
        _freed.Clear();
        _tree = new PrefixTree(_freed.Add);
    }

    [Test]
    public void The_child_that_agrees_longest_is_found_among_neighbours()
    {
        foreach (int[] tokens in new int[][] { [5, 1, 9], [5, 1, 3, 7], [5, 2], [4], [5, 1, 3, 1] })
        {
            Assert.That(_tree.TryAdd(_tree.Root, tokens, 0, out CachedPage page));
            Assert.That(page.Tokens, Is.EqualTo(tokens));
        }

        Assert.That(Found(5, 1, 3, 7, 8), Is.EqualTo((4, new[] { 5, 1, 3, 7 })));
        Assert.That(Found(5, 1, 3, 5), Is.EqualTo((3, new[] { 5, 1, 3, 7 })).Or.EqualTo((3, new[] { 5, 1, 3, 1 })));
        Assert.That(Found(5, 1).Common, Is.EqualTo(2));
        Assert.That(Found(5, 2, 2), Is.EqualTo((2, new[] { 5, 2 })));
        Assert.That(Found(6), Is.EqualTo((0, (int[]?)null)));
        Assert.That(Found(), Is.EqualTo((0, (int[]?)null)));
    }

    [Test]
    public void Pages_go_from_the_ends_of_texts_on_and_the_least_recently_used_first()
    {
        CachedPage a = Add(_tree.Root, 1, 10);
        CachedPage ab = Add(a, 2, 11);
        CachedPage abc = Add(ab, 3, 12);
        CachedPage abd = Add(ab, 4, 13);
        CachedPage e = Add(_tree.Root, 5, 14);
        _tree.Hold(abc);
        _tree.Touch(abd);
        Assert.That((_tree.Count, _tree.HeldCount), Is.EqualTo((5, 3)));
        EvictAll();
        Assert.That(_freed, Is.EqualTo(new[] { e.Page, abd.Page }), "what is held and what leads there stays");
        _tree.Hold(ab);
        _tree.Release(abc);
        EvictAll();
        Assert.That(_freed[2..], Is.EqualTo(new[] { abc.Page }));
        _tree.Release(ab);
        EvictAll();
        Assert.That(_freed[3..], Is.EqualTo(new[] { ab.Page, a.Page }));
        Assert.That((_tree.Count, _tree.HeldCount), Is.EqualTo((0, 0)));
    }

    [Test]
    public void Texts_that_are_needed_go_last_and_the_one_that_is_needed_first_at_the_very_end()
    {
        CachedPage[] pages = [.. Enumerable.Range(0, 3).Select(i => Add(Add(_tree.Root, 1 + i, 10 + i), 4, 20 + i))];
        CachedPage branch = Add(pages[1].Parent!, 5, 30);
        CachedPage other = Add(_tree.Root, 9, 40);
        long uses = _tree.Uses;
        _tree.NoteNeeded([pages[1], pages[0], pages[1].Parent!, branch, _tree.Root]);
        Assert.That(_tree.Uses, Is.EqualTo(uses));
        EvictAll();
        Assert.That(_freed, Is.EqualTo(new[] { 22, 12, other.Page, branch.Page, 20, 10, 21, 11 }));
    }

    [Test]
    public void Needed_texts_that_somebody_holds_are_used_when_he_leaves_them()
    {
        CachedPage a = Add(_tree.Root, 1, 10);
        CachedPage b = Add(_tree.Root, 2, 11);
        _tree.Hold(a);
        _tree.NoteNeeded([a, b]);
        long uses = _tree.Uses;
        _tree.Release(a);
        Assert.That(_tree.Uses, Is.GreaterThan(uses));
        EvictAll();
        Assert.That(_freed, Is.EqualTo(new[] { b.Page, a.Page }));
    }

    [Test]
    public void How_far_a_text_is_known_is_found_from_where_it_was_known_before_or_is_still()
    {
        int[] text = [.. Enumerable.Repeat(1, KvPage.Tokens), .. Enumerable.Repeat(2, KvPage.Tokens), 3];
        Assert.That(PrefixTree.LastKnown(text, _tree.Root), Is.SameAs(_tree.Root));
        CachedPage a = Add(_tree.Root, 1, 10);
        CachedPage known = PrefixTree.LastKnown(text, _tree.Root);
        Assert.That(known, Is.SameAs(a));
        CachedPage ab = Add(a, 2, 11);
        known = PrefixTree.LastKnown(text, known);
        Assert.That(known, Is.SameAs(ab));
        EvictAll();
        Assert.That(PrefixTree.LastKnown(text, known), Is.SameAs(_tree.Root));
        Assert.That(PrefixTree.LastKnown(text, known), Is.SameAs(_tree.Root));
        a = Add(_tree.Root, 1, 12);
        Assert.That(PrefixTree.LastKnown(text, known), Is.SameAs(a));
    }

    /// <summary>What a long session held until now was used more recently than what ended meanwhile.</summary>
    [Test]
    public void A_page_is_used_as_long_as_somebody_holds_it()
    {
        CachedPage a = Add(_tree.Root, 1, 10);
        _tree.Hold(a);
        CachedPage b = Add(_tree.Root, 2, 11);
        _tree.Release(a);
        EvictAll();
        Assert.That(_freed, Is.EqualTo(new[] { b.Page, a.Page }));
    }

    [Test]
    public void The_beginning_of_a_page_goes_when_nobody_holds_it_beside_the_page()
    {
        _tree.TryAdd(_tree.Root, [1, 2], 7, out CachedPage half);
        _tree.Hold(half);
        Assert.That(_tree.TryAdd(_tree.Root, [1, 2, 3], 8, out CachedPage longer));
        Assert.That(_freed, Is.Empty);
        Assert.That(_tree.TryAdd(_tree.Root, [1], 9, out CachedPage present), Is.False);
        Assert.That(present, Is.SameAs(half).Or.SameAs(longer));
        _tree.Release(half);
        Assert.That(_freed, Is.EqualTo(new[] { 7 }));
        Assert.That(_tree.TryAdd(_tree.Root, [1, 2, 3, 4], 9, out _));
        Assert.That(_freed, Is.EqualTo(new[] { 7, 8 }));
    }

    /// <summary>Against an oracle that knows every text as a string of tokens.</summary>
    [Test]
    public void Random_texts_are_found_as_far_as_they_are_there([Range(0, 9)] int seed)
    {
        var random = new Random(seed);
        var texts = new List<(int[] Tokens, CachedPage Last)>();
        var numbers = new HashSet<int>();
        int next = 0;
        for (int round = 0; round < 300; round++)
        {
            int[] text = [.. Enumerable.Range(0, random.Next(1, 200)).Select(i => i % KvPage.Tokens < 62 ? i / KvPage.Tokens : random.Next(2))];
            CachedPage at = _tree.Root;
            int done = 0;
            int agreed = 0;
            while (done < text.Length)
            {
                int common = PrefixTree.Find(at, text.AsSpan(done), out CachedPage? child);
                agreed += agreed == done ? common : 0;
                if (common < KvPage.Tokens)
                {
                    break;
                }

                (at, done) = (child!, done + common);
            }

            int expected = texts.Count == 0 ? 0 : texts.Max(t => t.Tokens.AsSpan().CommonPrefixLength(text));
            Assert.That(agreed, Is.EqualTo(expected));
            for (; done < text.Length; done += KvPage.Tokens)
            {
                if (_tree.TryAdd(at, text.AsSpan(done, Math.Min(KvPage.Tokens, text.Length - done)), next, out CachedPage page))
                {
                    Assert.That(numbers.Add(next++));
                }

                at = page;
            }

            int[] whole = new KvPrefix(at, at.End).Tokens();
            Assert.That(whole.AsSpan().StartsWith(text), "one that was there may go on further");
            _tree.Hold(at);
            texts.Add((whole, at));
            if (texts.Count > 6)
            {
                int gone = random.Next(texts.Count);
                _tree.Release(texts[gone].Last);
                texts.RemoveAt(gone);
                EvictAll();
            }

            numbers.ExceptWith(_freed);
            Assert.That(numbers, Has.Count.EqualTo(_tree.Count));
        }
    }

    private (int Common, int[]? Tokens) Found(params int[] tokens)
    {
        int common = PrefixTree.Find(_tree.Root, tokens, out CachedPage? child);
        return (common, child?.Tokens);
    }

    private CachedPage Add(CachedPage parent, int token, int page)
    {
        Assert.That(_tree.TryAdd(parent, [.. Enumerable.Repeat(token, KvPage.Tokens)], page, out CachedPage added));
        return added;
    }

    private void EvictAll()
    {
        while (_tree.TryEvict())
        {
        }
    }
}
