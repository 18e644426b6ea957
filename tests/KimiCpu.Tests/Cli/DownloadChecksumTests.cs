// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Security.Cryptography;
using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Cli;
using KimiCpu.Tests.Checkpoints.Repack;

namespace KimiCpu.Tests.Cli;

/// <summary><c>kimi verify --checksums</c> of a download: the checksums are those that <c>hf download</c> leaves.</summary>
[TestFixture]
internal sealed class DownloadChecksumTests : CommandFixture
{
    private const string Second = "model-00002-of-00003.safetensors";
    private const string Third = "model-00003-of-00003.safetensors";

    /// <summary>The hub keeps these in git; of all others <c>hf</c> notes the SHA-256.</summary>
    private static readonly string[] s_small = ["config.json", "generation_config.json", "tokenizer_config.json"];

    [Test]
    public async Task A_flipped_bit_of_a_download_is_found()
    {
        Download();
        (int code, string output, _) = await Run(["verify", "--checksums", Folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Ok), output);
        Assert.That(output, Does.StartWith("Whole: 3 shards").And.Contain("Note: No checksum is known of config.json, ").And.Not.Contain("known of model-"));

        string whole = Checksum(Second);
        RepackFolders.FlipByte(Path.Combine(Folder, Second), new FileInfo(Path.Combine(Folder, Second)).Length - 1);
        Assert.That((await Run(["verify", Folder])).Code, Is.EqualTo(KimiCommand.Ok), "headers alone do not show it");
        (code, output, _) = await Run(["verify", "--checksums", Folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith($"{Second}: Its bytes are not those of the hub: expected the SHA-256 {whole}, found {Checksum(Second)}."));
        Assert.That(output, Does.EndWith($"Delete and fetch again: {Second}{Environment.NewLine}"));
        using JsonDocument json = JsonDocument.Parse((await Run(["verify", "--checksums", "--json", Folder])).Output);
        Assert.That(json.RootElement.GetProperty("fetch_again").EnumerateArray().Select(f => f.GetString()), Is.EqualTo(new[] { Second }));
        Assert.That(json.RootElement.GetProperty("without_checksum").EnumerateArray().Select(f => f.GetString()), Does.Contain("config.json").And.Not.Contain(Second));
    }

    /// <summary>A power failure that damages a file may damage what was noted of it, too, and nobody should take it for compared.</summary>
    [TestCase("")]
    [TestCase("ZEROS")]
    [TestCase("main\nSUM")]
    [TestCase("main\nSUM\nyesterday\n")]
    [TestCase("main\n11c5a3d5811f50298f278a704980280950aedb10\n1712656091.123\n")]
    [TestCase("main\n\"zz\"\n1712656091.123\n")]
    [TestCase("{\"sum\":\n\"SUM\"\n}")]
    [TestCase(null)]
    public async Task A_note_that_says_nothing_of_a_shard_is_no_checksum(string? note)
    {
        Download();
        File.WriteAllText(NoteOf(Third), note?.Replace("SUM", Checksum(Third), StringComparison.Ordinal).Replace("ZEROS", new string('\0', 130), StringComparison.Ordinal) ?? $"main\n{Checksum(Third)}\n1\n{new string('x', 5000)}");
        (int code, string output, _) = await Run(["verify", "--checksums", Folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith($"{Third}: No checksum is known of it, though of other files. Run the same `hf download` again").And.Not.Contain("etch again:"));

        File.Delete(NoteOf(Third));
        Directory.CreateDirectory(NoteOf(Third));
        Assert.That((await Run(["verify", "--checksums", Folder])).Output, Does.StartWith($"{Third}: No checksum is known of it"));

        Directory.Delete(Path.Combine(Folder, ".cache"), recursive: true);
        (code, output, string error) = await Run(["verify", "--checksums", Folder]);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")));
        Assert.That(error, Does.StartWith($"'{Folder}' holds no kimi-repack.json").And.Contain("no SHA-256 of its files, as `hf download` leaves"));
    }

    [Test]
    public async Task In_the_cache_of_a_hub_the_names_of_blobs_are_the_checksums([Values] bool throughLink)
    {
        string snapshot = Directory.CreateDirectory(Path.Combine(Folder, "snapshots", "abc")).FullName;
        string blobs = Directory.CreateDirectory(Path.Combine(Folder, "blobs")).FullName;
        string elsewhere = Directory.CreateDirectory(Path.Combine(Folder, "elsewhere")).FullName;
        string blob = "";
        foreach (string file in Directory.GetFiles(Repository.Checkpoint("tiny-int4")))
        {
            string name = Path.GetFileName(file);
            byte[] hash = SHA256.HashData(File.ReadAllBytes(file));
            string sum = Convert.ToHexStringLower(s_small.Contains(name) ? hash[..20] : hash);
            if (name == Second)
            {
                // Somebody has moved the largest to another drive.
                blob = Path.Combine(elsewhere, "large");
                File.Copy(file, blob);
                Links.Create(Path.Combine(blobs, sum), blob);
            }
            else
            {
                File.Copy(file, Path.Combine(blobs, sum));
            }

            Links.Create(Path.Combine(snapshot, name), $"../../blobs/{sum}");
        }

        string folder = snapshot;
        if (throughLink)
        {
            folder = Path.Combine(elsewhere, "K2");
            Links.Create(folder, snapshot);
        }

        (int code, string output, _) = await Run(["verify", "--checksums", folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Ok), output);
        Assert.That(output, Does.StartWith("Whole: ").And.Contain("Note: No checksum is known of config.json, "));
        RepackFolders.FlipByte(blob, new FileInfo(blob).Length - 1);
        (code, output, _) = await Run(["verify", "--checksums", folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.EndWith($"Delete, with what they are links to, and fetch again: {Second}{Environment.NewLine}"), "a blob that stays is linked to again");
    }

    [Test]
    [CancelAfter(60_000)]
    public void Reading_tells_its_progress_ends_where_it_is_cancelled_and_damages_no_file_that_cannot_be_read(CancellationToken cancellationToken)
    {
        const string Large = "large.dat";
        using (FileStream stream = File.Create(Path.Combine(Folder, Large)))
        {
            stream.SetLength(6L * ReadAhead.PieceBytes);
        }

        Note(Large, Checksum(Large));
        DownloadChecksums checksums = DownloadChecksums.Of(Folder);
        List<(long Done, long Total)> told = [];
        Assert.That(DownloadVerifier.Verify(Folder, checksums, (done, total) => told.Add((done, total)), cancellationToken), Is.Empty);
        Assert.That(told, Is.EqualTo(Enumerable.Range(1, 6).Select(i => (i * (long)ReadAhead.PieceBytes, 6L * ReadAhead.PieceBytes))));

        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Assert.That(() => DownloadVerifier.Verify(Folder, checksums, (_, _) => cancel.Cancel(), cancel.Token), Throws.InstanceOf<OperationCanceledException>());

        IReadOnlyList<VerificationProblem> problems = DownloadVerifier.Verify(
            Folder, checksums, (_, _) => File.SetLastWriteTimeUtc(Path.Combine(Folder, Large), DateTime.UtcNow.AddMinutes(5)), cancellationToken);
        Assert.That(problems.Single(), Has.Property(nameof(VerificationProblem.IsUnreadable)).True.And.Property(nameof(VerificationProblem.Remedy)).Contains("verify again"));
    }

    /// <summary>A folder as <c>hf download --local-dir</c> leaves it.</summary>
    private void Download()
    {
        RepackFolders.Copy(Repository.Checkpoint("tiny-int4"), Folder);
        foreach (string file in Directory.GetFiles(Folder).Select(f => Path.GetFileName(f)))
        {
            Note(file, s_small.Contains(file) ? "11c5a3d5811f50298f278a704980280950aedb10" : Checksum(file));
        }
    }

    private void Note(string file, string content)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(NoteOf(file))!);
        File.WriteAllText(NoteOf(file), $"02c8d0ac89dbd2aed85f3e4814f52bd082d98ba8\n{content}\n1712656091.123\n");
    }

    private string NoteOf(string file) => Path.Combine(Folder, ".cache", "huggingface", "download", $"{file}.metadata");

    private string Checksum(string file) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(Folder, file))));
}
