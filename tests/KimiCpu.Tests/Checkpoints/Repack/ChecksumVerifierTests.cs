// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>Only what was read and differs is damaged; its source may be gone.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class ChecksumVerifierTests
{
    private const string Large = "large.dat";

    private string _folder = "";

    private string Target => Path.Combine(_folder, "target");

    [SetUp]
    public void Repack()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));

        // Longer than what is read ahead.
        using (FileStream stream = File.Create(Path.Combine(source, Large)))
        {
            stream.SetLength(6L * ReadAhead.PieceBytes);
        }

        RepackFolders.Repack(source, Target);
    }

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    [CancelAfter(60_000)]
    public void A_file_whose_reading_fails_in_its_middle_is_not_to_be_deleted(CancellationToken cancellationToken)
    {
        long before = RepackManifest.TryRead(Target)!.Written.Values.TakeWhile(f => f.Name != Large).Sum(f => f.Bytes);
        IReadOnlyList<VerificationProblem> problems = ChecksumVerifier.Verify(Target, (done, _) =>
        {
            if (done == before + ReadAhead.PieceBytes)
            {
                File.SetLastWriteTimeUtc(Path.Combine(Target, Large), DateTime.UtcNow.AddMinutes(5));
            }
        }, cancellationToken);
        VerificationProblem problem = problems.Single();
        Assert.That((problem.File, problem.IsUnreadable), Is.EqualTo((Large, true)));
        Assert.That(problem.Problem, Does.StartWith("Reading at byte ").And.Contain("changed"));
        Assert.That(problem.Remedy, Does.Contain("verify again").And.Not.Contain("written so far"));
        Assert.That(new VerificationReport(0, 0, 0, problems).FilesToFetch, Is.Empty);
        Assert.That(ChecksumVerifier.Verify(Target, null, cancellationToken), Is.Empty, "it was whole all the time");
    }

    /// <summary>The file comes with a download, and lengths of it are added up.</summary>
    [TestCase(-1)]
    [TestCase(long.MaxValue)]
    [TestCase((1L << 50) - 1)]
    public void Absurd_lengths_are_damage(long bytes)
    {
        string file = Path.Combine(Target, RepackManifest.File);
        JsonObject json = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        json["files"]![0]!["bytes"] = bytes;
        File.WriteAllText(file, json.ToJsonString());
        Assert.That(() => ChecksumVerifier.Verify(Target), Throws.TypeOf<CheckpointException>().With.Message.Contains("The file is damaged"));
    }
}
