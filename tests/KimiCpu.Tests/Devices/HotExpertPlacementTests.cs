// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Experts;
using KimiCpu.Devices;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Devices;

/// <summary>Which experts a GPU holds: tiny-int4 has 16 in each of its layers 1 to 3, and four for a token.</summary>
[TestFixture]
internal sealed class HotExpertPlacementTests
{
    private const int Experts = 16;
    private const int FirstKey = Experts;
    private const int Keys = 4 * Experts;

    private Checkpoint _checkpoint = null!;
    private ModelWeights _weights = null!;
    private UseCounts _counts = null!;
    private HotExpertPlacement _placement = null!;

    [SetUp]
    public void Open()
    {
        _checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        _weights = WeightLoader.Load(_checkpoint);
        _counts = new UseCounts(Keys, halfLife: 1000);
        _placement = new HotExpertPlacement(_weights, _counts);
    }

    [TearDown]
    public void Close() => _checkpoint.Dispose();

    [Test]
    public void What_was_used_most_comes_first_then_some_of_every_layer()
    {
        _counts.Use(35);
        _counts.Use(35);
        _counts.Use(50);
        Assert.That(_placement.First(6), Is.EqualTo(new[] { 35, 50, 16, 32, 48, 17 }));
        Assert.That(_placement.First(1000), Is.EquivalentTo(Enumerable.Range(FirstKey, 3 * Experts)), "all, and none of the dense layer");
    }

    [Test]
    public void A_pass_counts_once_however_many_of_its_tokens_use_an_expert()
    {
        Pass(1, [3, 4, 5, 6, 3, 4, 5, 7]);
        Assert.That(new[] { 3, 6, 7, 8 }.Select(e => _counts.Rank(FirstKey + e) > UseCounts.Never), Is.EqualTo(new[] { true, true, true, false }));
        Assert.That(_counts.Count(FirstKey + 3), Is.EqualTo(_counts.Count(FirstKey + 7)));
    }

    [Test]
    public void An_expert_comes_when_it_is_used_clearly_more_than_one_that_is_there()
    {
        var held = new bool[Keys];
        held.AsSpan(FirstKey, Experts).Fill(true);
        Assert.That(_placement.Next(held), Is.Null, "nothing is known");

        // Layer 1 uses experts that are there, layer 2 the same four that are not.
        for (int pass = 0; pass < 4; pass++)
        {
            Pass(1, [0, 1, 2, 3]);
            Pass(2, [8, 9, 10, 11]);
        }

        Assert.That(Ask(held), Is.Null, "four uses do not pay for a move");
        Pass(1, [0, 1, 2, 3]);
        Pass(2, [8, 4, 5, 6]);
        ExpertMove move = Ask(held)!.Value;
        Assert.That(move.In, Is.EqualTo((2 * Experts) + 8));
        Assert.That(held[move.Out] && _counts.Rank(move.Out) == UseCounts.Never, "one of those that nobody has used");

        // Where all that are there are used as much, nothing moves.
        var busy = new bool[Keys];
        foreach (int expert in new[] { 0, 1, 2, 3 })
        {
            busy[FirstKey + expert] = true;
        }

        Assert.That(Ask(busy), Is.Null);
        Assert.That(Ask(new bool[Keys]), Is.Null, "there are no slots");
    }

    /// <summary>Looking at all counts is not for every pass.</summary>
    private ExpertMove? Ask(bool[] held)
    {
        for (int pass = 0; pass < 40; pass++)
        {
            if (_placement.Next(held) is { } move)
            {
                return move;
            }

            // Begins a pass, in which layer 1 has no rows.
            _placement.Note(1, default);
        }

        return null;
    }

    private unsafe void Pass(int layer, int[] experts)
    {
        fixed (int* ids = experts)
        {
            _placement.Note(layer, new RoutedRows(experts.Length / 4, null, ids, null));
        }
    }
}
