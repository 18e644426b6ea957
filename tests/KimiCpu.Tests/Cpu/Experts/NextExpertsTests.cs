// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cpu.Experts;

[TestFixture]
internal sealed unsafe class NextExpertsTests
{
    [Test]
    public void First_choices_of_all_rows_come_before_second_ones_and_each_expert_once()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast);
        var next = new NextExperts(model.Weights);
        int[] predicted = [7, 3, 9, 1, 20, 7, 3, 5];
        fixed (int* ids = predicted)
        {
            int[] expected = [7, 20, 3, 9, 1, 5];
            Assert.That(next.Of(new RoutedRows(2, null, null, null, ids)).ToArray(), Is.EqualTo(expected));
            Assert.That(next.Of(new RoutedRows(1, null, null, null, ids)).ToArray(), Is.EqualTo(predicted[..4]));
        }

        Assert.That(next.Of(new RoutedRows(1, null, null, null)).IsEmpty);

        // What a GPU holds need not be read.
        var held = new bool[24];
        (held[7], held[1]) = (true, true);
        fixed (int* ids = predicted)
        fixed (bool* elsewhere = held)
        {
            int[] expected = [20, 3, 9, 5];
            Assert.That(next.Of(new RoutedRows(2, null, null, null, ids) { PredictedElsewhere = elsewhere }).ToArray(), Is.EqualTo(expected));
        }
    }

    [Test]
    public void Behind_the_last_layer_there_is_none()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast);
        var next = new NextExperts(model.Weights);
        int[] layers = [.. Enumerable.Range(0, 6).Select(next.LayerAfter)];
        int[] expected = [1, 2, 3, 4, 5, -1];
        Assert.That(layers, Is.EqualTo(expected));
    }
}
