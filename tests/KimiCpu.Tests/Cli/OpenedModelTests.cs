// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class OpenedModelTests
{
    private static readonly Func<bool, string> s_remedy = _ => "A shorter text";

    [TestCase(null, false)]
    [TestCase(2L << 20, true)]
    [CancelAfter(60_000)]
    public void Experts_are_where_a_model_of_the_library_would_have_them(long? memory, bool inSlots)
    {
        using OpenedModel opened = OpenedModel.Open(OpenedModel.OpenCheckpoint(Repository.NanoModel), new CpuBackendOptions { Threads = 1 }, memory, context: 100, chunk: 16, s_remedy);
        Assert.That(opened.Store, inSlots ? Is.Not.Null : Is.Null);
    }

    [Test]
    [CancelAfter(60_000)]
    public void The_embedded_models_experts_are_in_an_assembly_and_stay_there()
    {
        using OpenedModel opened = OpenedModel.Open(OpenedModel.OpenCheckpoint(null), new CpuBackendOptions { Threads = 1 }, 2 << 20, context: 100, chunk: 16, s_remedy);
        Assert.That(opened.Store, Is.Null);
    }

    [Test]
    [CancelAfter(60_000)]
    public void Copies_in_8_bits_are_counted_as_the_library_counts_them()
    {
        ProcessMemory memory = BenchCommandTests.TooLittleForAllExperts();
        Assert.That(Slots(true), Is.Not.EqualTo(Slots(false)));

        int? Slots(bool int8HotPath)
        {
            var cpu = new CpuBackendOptions { Threads = 1, Int8HotPath = int8HotPath };
            using OpenedModel opened = OpenedModel.Open(OpenedModel.OpenCheckpoint(Repository.NanoModel), cpu, null, context: 64, ModelMemory.UsualChunk, s_remedy, memory);
            return opened.Store?.Slots;
        }
    }

    /// <summary>The library's remedies are options of its own, few of which a command has that opens no <see cref="KimiModel"/>.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Where_it_does_not_fit_what_the_command_can_ask_less_for_is_told()
    {
        KimiException error = Assert.Throws<KimiException>(() =>
            OpenedModel.Open(OpenedModel.OpenCheckpoint(Repository.NanoModel), new CpuBackendOptions { Threads = 1 }, null, context: 100, chunk: 16, s_remedy, new ProcessMemory(1 << 20, 1 << 20, null)).Dispose())!;
        Assert.That(error.Message, Does.Contain("The model does not fit: ").And.Contain(" A shorter text helps, or KimiModelOptions.ExpertMemory,").And.Not.Contain("PrefillChunk").And.Not.Contain("KvCacheBytes"));
    }
}
