// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tests.Checkpoints.Repack;

namespace KimiCpu.Tests.Cli;

/// <summary><c>kimi repack</c> and <c>kimi verify --checksums</c> as users see them.</summary>
[TestFixture]
internal sealed class RepackCommandTests
{
    private static readonly string s_fixture = RepackFolders.PathOf("tiny-k25");

    private string _folder = "";

    private string Target => Path.Combine(_folder, "target");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Without_a_target_it_says_what_would_be_gained()
    {
        (int code, string output, string error) = await Run("repack", s_fixture);
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Does.Contain("routed experts of").And.Contain("reads (least / mean / most)").And.Contain("1 / 1.00 / 1").And.Contain("kimi repack SOURCE TARGET"));
    }

    [Test]
    public async Task A_checkpoint_is_repacked_once_and_verified()
    {
        (int code, string output, string error) = await Run("repack", s_fixture, Target, "--force");
        Assert.That(code, Is.Zero, error);
        Assert.That(output, Does.Contain("Writing ").And.Contain("written, read back and found the same"));
        Assert.That(error, Does.Contain(".safetensors (1 of ").And.Contain("written and read back in"));
        Assert.That(RepackFolders.Tensors(Target), Is.EquivalentTo(RepackFolders.Tensors(s_fixture)));

        (code, output, error) = await Run("repack", s_fixture, Target);
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Does.Contain("is complete already"));

        (code, output, error) = await Run("verify", Target, "--checksums");
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Does.StartWith("Whole: "));

        string shard = Directory.GetFiles(Target, "*.safetensors").Order().Last();
        RepackFolders.FlipByte(shard, new FileInfo(shard).Length - 1);
        Assert.That((await Run("verify", Target)).Code, Is.Zero, "headers alone do not show it");
        (code, output, _) = await Run("verify", Target, "--checksums");
        Assert.That(code, Is.EqualTo(1));
        Assert.That(output, Does.Contain("not those that were read from the source").And.Contain($"Delete these files and run `kimi repack` again: {Path.GetFileName(shard)}"));

        if (!OperatingSystem.IsWindows())
        {
            // Links in a circle are refused by the system even to who may read everything.
            File.Delete(shard);
            File.CreateSymbolicLink(shard, shard);
            (code, output, _) = await Run("verify", Target, "--checksums");
            Assert.That(code, Is.EqualTo(1));
            Assert.That(output, Does.Contain("Check the drive and the permissions.").And.Not.Contain("Delete these files"));
        }
    }

    [Test]
    public async Task Where_little_is_gained_nothing_is_written_unless_forced()
    {
        Assert.That((await Run("repack", s_fixture, Target, "--force")).Code, Is.Zero);
        string again = Path.Combine(_folder, "again");
        (int code, string output, string error) = await Run("repack", Target, again);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed), "who asked for a checkpoint there goes on without one");
        Assert.That(output, Does.Contain("reads (least / mean / most)"));
        Assert.That(error, Does.StartWith("Nothing is written").And.Contain("--force"));
        Assert.That(Directory.Exists(again), Is.False);
        Assert.That((await Run("repack", Target)).Code, Is.Zero, "nothing was asked for");
    }

    [Test]
    public async Task Wrong_targets_are_wrong_usage()
    {
        foreach (string target in new[] { s_fixture, Path.Combine(s_fixture, "inner") })
        {
            (int code, string output, string error) = await Run("repack", s_fixture, target);
            Assert.That((code, output), Is.EqualTo((2, "")));
            Assert.That(error, Does.Contain("source"));
        }

        (int without, _, string message) = await Run("verify", s_fixture, "--checksums");
        Assert.That(without, Is.EqualTo(2));
        Assert.That(message, Does.Contain(RepackManifest.File));
    }

    /// <summary>The damage would be written faithfully, with a checksum that calls it whole, and again by each repack that is to repair it.</summary>
    [Test]
    public async Task A_source_that_is_not_whole_is_refused_with_what_is_wrong_with_it()
    {
        const string Second = "model-00002-of-00003.safetensors";
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));
        using (FileStream stream = File.OpenWrite(Path.Combine(source, Second)))
        {
            // As after a power failure: half of the file's pages have not been written.
            stream.Position = stream.Length / 2;
            stream.Write(new byte[stream.Length - stream.Position]);
        }

        (int code, _, string error) = await Run("repack", source, Target, "--force");
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(error, Does.StartWith("Nothing is written: the source is not whole.").And.Contain($"{Second}, ").And.Contain("Expected the shape"));
        Assert.That(error, Does.EndWith($"Delete and fetch again: {Second}{Environment.NewLine}"));
        Assert.That(Directory.Exists(Target), Is.False);
        Assert.That((await Run("repack", source)).Code, Is.Zero, "what would be gained does not depend on it");
        File.Copy(Path.Combine(RepackFolders.PathOf("tiny-int4"), Second), Path.Combine(source, Second), overwrite: true);
        Assert.That((await Run("repack", source, Target, "--force")).Code, Is.Zero);
    }

    [Test]
    public async Task Damaged_files_are_named_with_their_folders()
    {
        string source = RepackFolders.Copy(s_fixture, Path.Combine(_folder, "source"));
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(Path.Combine(source, "docs")).FullName, "notes.txt"), "notes");
        Assert.That((await Run("repack", source, Target, "--force")).Code, Is.Zero);
        RepackFolders.FlipByte(Path.Combine(Target, "docs", "notes.txt"), 0);
        (int code, string output, _) = await Run("verify", Target, "--checksums");
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith("docs/notes.txt: ").And.Contain("run `kimi repack` again: docs/notes.txt").And.Contain("Elsewhere delete and fetch again, from where this folder came: docs/notes.txt"));
        (_, output, _) = await Run("verify", Target, "--checksums", "--json");
        using var json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("fetch_again").EnumerateArray().Select(f => f.GetString()), Is.EqualTo(new[] { "docs/notes.txt" }));
    }

    [Test]
    public async Task A_cancelled_run_says_how_it_goes_on()
    {
        var output = new StringWriter();
        using var cancel = new CancellationTokenSource();
        var error = new CancellingWriter(cancel, "(2 of ");
        int code = await KimiCommand.RunAsync(["repack", s_fixture, Target, "--force"], new CliStreams(Stream.Null, output, error, IsTerminal: false), cancel);
        Assert.That(code, Is.EqualTo(130));
        Assert.That(error.ToString(), Does.Contain("the same command goes on").And.Contain("Cancelled."));

        (code, string second, string lines) = await Run("repack", s_fixture, Target);
        Assert.That(code, Is.Zero, lines);
        Assert.That(second, Does.Contain("are there from an earlier run"));
        Assert.That(lines, Does.Not.Contain("(1 of "));
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    /// <summary>Files that are not there yet are not to be deleted or fetched, with checksums or without.</summary>
    [Test]
    public async Task An_unfinished_repack_is_told_as_that_and_its_missing_files_are_not([Values] bool checksums, [Values] bool json)
    {
        using var cancel = new CancellationTokenSource();
        Assert.That(await KimiCommand.RunAsync(["repack", s_fixture, Target, "--force"], new CliStreams(Stream.Null, TextWriter.Null, new CancellingWriter(cancel, "(2 of "), IsTerminal: false), cancel), Is.EqualTo(130));
        (int code, string output, _) = await Run(["verify", Target, .. checksums ? new[] { "--checksums" } : [], .. json ? new[] { "--json" } : []]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.Contain("has not been finished").And.Not.Contain("Delete these files").And.Not.Contain("Neither"));
        if (json)
        {
            using var document = JsonDocument.Parse(output);
            Assert.That(document.RootElement.GetProperty("fetch_again").GetArrayLength(), Is.Zero);
            Assert.That(document.RootElement.GetProperty("problems").GetArrayLength(), Is.EqualTo(1));
        }
    }

    /// <summary>As of a run that ended when its source had changed.</summary>
    [Test]
    public async Task A_repack_without_an_end_is_not_called_whole()
    {
        RepackFolders.Repack(s_fixture, Target);
        RepackManifest manifest = RepackManifest.TryRead(Target)!;
        manifest.IsComplete = false;
        manifest.Save(Target);
        (int code, string output, _) = await Run("verify", Target);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.Contain("has not been finished").And.Contain("or says why it cannot").And.Not.Contain("missing"));
    }

    /// <summary>It is not still to be written.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Links need a privilege there.")]
    public async Task What_cannot_be_read_is_told_of_a_repack_without_an_end()
    {
        RepackFolders.Repack(s_fixture, Target);
        RepackManifest manifest = RepackManifest.TryRead(Target)!;
        manifest.IsComplete = false;
        manifest.Save(Target);
        string config = Path.Combine(Target, "config.json");
        File.Delete(config);
        File.CreateSymbolicLink(config, config);
        (_, string output, _) = await Run("verify", Target);
        Assert.That(output, Does.Contain("has not been finished").And.Contain("config.json: The file cannot be read: "));
    }

    [Test]
    public async Task Missing_files_of_a_repack_are_not_to_be_deleted()
    {
        RepackFolders.Repack(s_fixture, Target);
        File.Delete(Path.Combine(Target, "config.json"));
        (int code, string output, _) = await Run("verify", Target);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith("config.json: ").And.Contain("Run `kimi repack` again.").And.Not.Contain("Delete"));
        Assert.That(output, Does.EndWith($"Elsewhere fetch, from where this folder came: config.json{Environment.NewLine}"), "the source may be on another machine");
    }

    [Test]
    public void The_line_shows_bytes_rate_and_time_left()
    {
        var progress = new RepackProgress("model-00003-of-00062.safetensors", 3, 70, IsChecking: false, 4_210_000_000, 9_510_000_000, 25_000_000_000, 1_188_000_000_000);
        Assert.That(
            RepackLine.Text(progress, TimeSpan.FromSeconds(4.5), TimeSpan.FromSeconds(30)),
            Is.EqualTo("2 % of all (23 min 15 s left): file 3 of 70, written 4.21 of 9.51 GB, 0.94 GB/s: model-00003-of-00062.safetensors"));
    }

    private static async Task<(int Code, string Output, string Error)> Run(params string[] args)
    {
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        int code = await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, output, error, IsTerminal: false), source);
        return (code, output.ToString(), error.ToString());
    }

    /// <summary>Cancels when it is told something.</summary>
    private sealed class CancellingWriter(CancellationTokenSource cancel, string at) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            if (value?.Contains(at, StringComparison.Ordinal) == true)
            {
                cancel.Cancel();
            }
        }
    }
}
