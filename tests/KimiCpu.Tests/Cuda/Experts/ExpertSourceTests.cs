// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cuda.Experts;
using KimiCpu.Tests.Cpu.ExpertStore;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.Experts;

[TestFixture]
internal sealed unsafe class ExpertSourceTests
{
    /// <summary>The slot is given back while a drive still owes an answer.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Once_it_is_ended_nothing_that_drives_answer_goes_to_a_slot()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-steady"));
        using var files = new FaultyFiles(CheckpointWeightFiles.Open(checkpoint));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        ExpertSlotLayout layout = ExpertSlotLayout.Of(weights)!;
        var source = new ExpertSource(weights, ExpertPlaces.Of(checkpoint, weights.Shape, files), layout);
        byte[] slot = GC.AllocateArray<byte>((int)layout.Bytes, pinned: true);
        slot.AsSpan().Fill(0xA5);
        files.Stall();
        Task copying = Task.Factory.StartNew(() => source.Copy(weights.Shape.ExpertCount, (byte*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(slot, 0)), TaskCreationOptions.LongRunning);
        Assert.That(() => files.Reads, Is.EqualTo(1).After(30_000, 1));
        source.End();
        files.Resume();
        Assert.That(copying.GetAwaiter().GetResult, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(slot, Is.All.EqualTo(0xA5));
        Assert.That(files.Reads, Is.EqualTo(1), "no further piece");
    }

    /// <summary>Its other tensors may lie on drives that answer.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_drive_that_does_not_answer_is_told_of_with_the_tensor_that_it_owes()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-steady"));
        using var files = new FaultyFiles(CheckpointWeightFiles.Open(checkpoint));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        ExpertSlotLayout layout = ExpertSlotLayout.Of(weights)!;
        ExpertFiles places = ExpertPlaces.Of(checkpoint, weights.Shape, files);
        var source = new ExpertSource(weights, places, layout);
        byte[] slot = GC.AllocateArray<byte>((int)layout.Bytes, pinned: true);
        files.StallFrom(ExpertFiles.Parts);
        Task copying = Task.Factory.StartNew(() => source.Copy(weights.Shape.ExpertCount, (byte*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(slot, 0)), TaskCreationOptions.LongRunning);
        Assert.That(() => files.Reads, Is.EqualTo(ExpertFiles.Parts).After(30_000, 1));
        TensorPlace last = places.Of(1, 0)[^1];
        string message = source.Silence(weights.Shape.ExpertCount, TimeSpan.FromSeconds(2)).Message;
        Assert.That(message, Does.Contain(places.NameOf(1, 0, ExpertFiles.Parts - 1)).And.Contain($"at byte {last.Offset:N0} failed"));
        files.Resume();
        copying.GetAwaiter().GetResult();
    }
}
