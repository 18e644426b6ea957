// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class ThreadTuningTests
{
    private string _folder = null!;

    private string FilePath => Path.Combine(_folder, "threads.json");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Threads_are_measured_once_and_answers_stay_the_same()
    {
        string expected = Answer(new KimiModelOptions { Threads = 1 }, out string plain);
        Assert.That(plain, Does.Contain(" 1 threads, "));
        KimiModelOptions options = new() { Threads = 3, TuneThreads = true, ThreadsFile = FilePath };
        Assert.That(Answer(options, out string measured), Is.EqualTo(expected));
        Assert.That(measured, Does.Match(@" [123] threads \(the fastest of (1 \(.*)?2 \(.*3 \("));
        Assert.That(Answer(options, out string remembered), Is.EqualTo(expected));
        Assert.That(remembered, Does.Contain(" threads (remembered as the fastest count), "));

        // Prompts take all, which is told where decoding does not.
        JsonNode file = JsonNode.Parse(File.ReadAllText(FilePath))!;
        file["choices"]!.AsObject().Single().Value!["threads"] = 2;
        File.WriteAllText(FilePath, file.ToJsonString());
        Assert.That(Placement(options), Does.Contain(" 2 threads (remembered as the fastest count), 3 for prompts, "));
        file["choices"]!.AsObject().Single().Value!["threads"] = 3;
        File.WriteAllText(FilePath, file.ToJsonString());
        Assert.That(Placement(options), Does.Contain(" 3 threads (remembered as the fastest count), ").And.Not.Contain("for prompts"));

        // Another precision or another limit is another question.
        Assert.That(Placement(options with { Exact = true }), Does.Contain("the fastest of"));
        Assert.That(Placement(options with { Threads = 2 }), Does.Contain("the fastest of"));
        Assert.That(((JsonObject)JsonNode.Parse(File.ReadAllText(FilePath))!["choices"]!).Count, Is.EqualTo(3));
        Assert.That(Placement(options), Does.Contain("remembered"));
        File.WriteAllText(FilePath, "{");
        Assert.That(Placement(options), Does.Contain("the fastest of"));
    }

    /// <summary>Beside a GPU the threads compute routed experts only, and with experts from drives they wait.</summary>
    [Test]
    [CancelAfter(300_000)]
    public void What_was_measured_for_one_placement_is_not_remembered_for_another()
    {
        using var driver = new SimulatedDriver();
        KimiModelOptions cpu = new() { Threads = 2, TuneThreads = true, ThreadsFile = FilePath, RememberExperts = false };
        KimiModelOptions[] all = [cpu with { Device = KimiDevice.Auto, CudaDriver = driver.Table }, cpu, cpu with { ExpertMemory = 1_000_000 }];
        foreach (string expected in new[] { "the fastest of", "remembered" })
        {
            foreach (KimiModelOptions options in all)
            {
                using KimiModel model = KimiModel.Open(Repository.NanoModel, options);
                Assert.That(model.Placement, Does.Contain(expected));
            }
        }
    }

    [Test]
    public void One_thread_is_not_measured()
    {
        Assert.That(Placement(new KimiModelOptions { Threads = 1, TuneThreads = true, ThreadsFile = FilePath }), Does.Contain(" 1 threads (not compared), "));
        Assert.That(File.Exists(FilePath), Is.False);
    }

    [Test]
    public void Cache_is_whole_after_tuning()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Threads = 2, TuneThreads = true, ThreadsFile = FilePath, ContextLength = 1 });
        Assert.That(model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity));
    }

    [Test]
    public void Opening_can_be_cancelled_while_threads_are_measured()
    {
        using var source = new CancellationTokenSource();
        var progress = new Listener(p =>
        {
            if (p.Phase == "threads")
            {
                source.Cancel();
            }
        });
        var options = new KimiModelOptions { Threads = 4, TuneThreads = true, ThreadsFile = FilePath, Progress = progress };
        Assert.That(async () => (await KimiModel.OpenAsync(Repository.NanoModel, options, source.Token)).Dispose(), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(File.Exists(FilePath), Is.False);
    }

    private static string Placement(KimiModelOptions options)
    {
        using KimiModel model = KimiModel.OpenEmbedded(options);
        return model.Placement;
    }

    private static string Answer(KimiModelOptions options, out string placement)
    {
        using KimiModel model = KimiModel.OpenEmbedded(options);
        placement = model.Placement;
        return model.Generate("What can you do?", new GenerationOptions { MaxTokens = 16, Temperature = 0 }).Text;
    }

    private sealed class Listener(Action<LoadProgress> heard) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => heard(value);
    }
}
