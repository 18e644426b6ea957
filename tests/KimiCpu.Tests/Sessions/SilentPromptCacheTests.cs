// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Versioning;
using KimiCpu.Generation;
using KimiCpu.Tests.Server;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Sessions;

/// <summary>Drives of a prompt cache that do not answer, played by pipes that have no other end.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
[UnsupportedOSPlatform("windows")]
internal sealed class SilentPromptCacheTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 3, IgnoreEndOfText = true };
    private static readonly int[] s_text = [1, .. Enumerable.Range(1, 199).Select(i => i * 13 % 500)];

    private LogLines _log = new();
    private string _folder = "";

    [SetUp]
    public void Start()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        _log = new LogLines();
    }

    [TearDown]
    public void Stop()
    {
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>The call computes what it has waited for long enough, others do not wait at all, and neither does closing.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void A_drive_that_does_not_answer_holds_up_one_call_for_a_while()
    {
        int[] other = [2, .. s_text[1..]];
        GenerationResult expected;
        using (KimiModel model = Open())
        {
            expected = model.Generate(s_text, s_options);
            AwaitFiles(3);
            model.Generate(other, s_options);
        }

        string second = Files().Where(f => f.EndsWith("-1.kvpage", StringComparison.Ordinal)).MinBy(File.GetLastWriteTimeUtc)!;
        MakePipe(second);
        try
        {
            using KimiModel next = Open();
            GenerationResult result = next.Generate(s_text, s_options);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(64));
            Assert.That(result.Tokens, Is.EqualTo(expected.Tokens));
            Assert.That(next.Generate(other, s_options).Usage.CachedTokens, Is.Zero, "nothing is read behind it");
        }
        finally
        {
            // Whoever waits at a pipe goes on when the other end is there.
            OtherEnd(second, FileAccess.Write).Dispose();
        }

        Assert.That(() => _log.Lines, Has.Exactly(1).Contain("is deleted and will be computed again").After(60_000, 5));
        using KimiModel last = Open();
        Assert.That(last.Generate(other, s_options).Usage.CachedTokens, Is.EqualTo(192));
    }

    [Test]
    [CancelAfter(120_000)]
    public void A_drive_that_takes_nothing_holds_up_no_call_and_closing_for_a_while()
    {
        using (KimiModel model = Open())
        {
            model.Generate(s_text, s_options);
        }

        string second = Files().Single(f => f.EndsWith("-1.kvpage", StringComparison.Ordinal));
        File.Delete(second);
        using (KimiModel next = Open())
        {
            MakePipe(second + ".unfinished");
            Assert.That(next.Generate(s_text, s_options).Usage.CachedTokens, Is.EqualTo(64));
            Assert.That(next.Generate(s_text, s_options).Usage.CachedTokens, Is.EqualTo(199));
        }

        using (FileStream pipe = OtherEnd(second + ".unfinished", FileAccess.Read))
        {
            pipe.CopyTo(Stream.Null);
        }

        Assert.That(() => File.Exists(second + ".unfinished"), Is.False.After(60_000, 5), "the thread is done");
    }

    private static void MakePipe(string path)
    {
        File.Delete(path);
        using Process make = Process.Start("mkfifo", [path]);
        make.WaitForExit();
        Assert.That(make.ExitCode, Is.Zero);
    }

    /// <summary>Without a lock, for which the two ends would race.</summary>
    private static FileStream OtherEnd(string path, FileAccess access) => new(path, FileMode.Open, access, FileShare.ReadWrite);

    private string[] Files() => Directory.GetFiles(_folder, "*.kvpage");

    private void AwaitFiles(int count) => Assert.That(() => Files().Length, Is.EqualTo(count).After(60_000, 5));

    private KimiModel Open()
    {
        var factory = new LoggerFactory([_log]);
        return KimiModel.Open(Repository.Checkpoint("tiny-int4"), new KimiModelOptions { PromptCacheDirectory = _folder, LoggerFactory = factory, Device = KimiDevice.Cpu, RememberExperts = false });
    }
}
