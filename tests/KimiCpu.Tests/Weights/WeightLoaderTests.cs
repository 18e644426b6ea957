// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

/// <summary>Reads of what is copied when a model is opened.</summary>
[TestFixture]
internal sealed class WeightLoaderTests
{
    /// <summary>The read cannot be ended: its thread is left behind.</summary>
    [TestCase("model.layers.1.input_layernorm.weight")]
    [TestCase("model.layers.1.mlp.gate.e_score_correction_bias")]
    [TestCase("model.layers.1.mlp.experts.0.down_proj.weight_shape")]
    [TestCase("model.norm.weight")]
    [CancelAfter(120_000)]
    public void An_opening_does_not_wait_without_end_for_a_drive_that_owes_a_small_tensor(string name)
    {
        using var files = new SilentFiles(new FolderCheckpointFiles(Repository.Checkpoint("tiny-int4")));
        using Checkpoint checkpoint = Checkpoint.Open(files);
        TensorEntry owed = checkpoint.Get(name);
        files.Owed = (checkpoint.Shards[owed.Shard], owed.Offset);
        Task<ModelWeights> loading = OwnThread.Run("load", () => WeightLoader.Load(checkpoint, patience: TimeSpan.FromSeconds(5)));
        Assert.That(Task.WaitAny([loading], TimeSpan.FromSeconds(60)), Is.Zero, "it has ended");
        CheckpointException error = Assert.Throws<CheckpointException>(() => loading.GetAwaiter().GetResult())!;
        Assert.That((error.File, error.Tensor), Is.EqualTo((files.PathOf(checkpoint.Shards[owed.Shard]), name)));
        Assert.That(error.Problem, Is.EqualTo($"Reading at byte {owed.Offset:N0} failed: The drive has not answered for 5 seconds."));
        files.Owed = null;
        Assert.That(WeightLoader.Load(checkpoint).Layers, Is.Not.Empty);
    }

    /// <summary>Never answers about one place until it is disposed of.</summary>
    private sealed class SilentFiles(FolderCheckpointFiles inner) : CheckpointFiles, IDisposable
    {
        private readonly ManualResetEventSlim _answers = new();

        public (string File, long Offset)? Owed { get; set; }

        public override string Name => inner.Name;

        public override bool AreOnDrive => true;

        public override bool Exists(string file) => inner.Exists(file);

        public override long Length(string file) => inner.Length(file);

        public override string PathOf(string file) => inner.PathOf(file);

        public override byte[] Read(string file, long offset, int count)
        {
            if (Owed == (file, offset))
            {
                _answers.Wait();
            }

            return inner.Read(file, offset, count);
        }

        public override MappedFile Map(string file) => inner.Map(file);

        public override DirectFile OpenDirect(string file) => inner.OpenDirect(file);

        public void Dispose() => _answers.Set();
    }
}
