// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tests.Checkpoints.Repack;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Weights;

/// <summary>What experts cost to read, before and after repacking.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class ExpertReadSurveyTests
{
    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void One_read_brings_in_any_expert_of_a_repacked_checkpoint_as_the_plan_says([ValueSource(typeof(RepackFolders), nameof(RepackFolders.Checkpoints))] string checkpoint)
    {
        string source = RepackFolders.PathOf(checkpoint);
        RepackGain gain = RepackGain.Of(source, RepackPlan.Of(RepackSource.Open(source)));
        RepackFolders.Repack(source, _folder);
        using Checkpoint repacked = Checkpoint.Open(_folder);
        ExpertReadSurvey survey = ExpertReadSurvey.Of(repacked);
        Assert.That(survey, Is.EqualTo(gain.After));
        Assert.That(survey.Reads, Is.EqualTo(new Spread(1, 1, 1)));
        Assert.That(survey.Bytes.Most, Is.LessThan(survey.Needed + (2 * RepackPlan.Alignment)), "no more than the pages at both ends");
        Assert.That(survey.Needed, Is.EqualTo(gain.Now.Needed));
    }

    [Test]
    public void Experts_of_whole_pages_all_begin_where_a_read_may_begin_and_nothing_else_is_read()
    {
        string source = Write("hidden=512,layers=3,experts=9,topk=2,moe=256,vocab=600,intermediate=512,heads=2,qlora=64,kvlora=64");
        string target = Path.Combine(_folder, "target");
        RepackFolders.Repack(source, target);
        using Checkpoint before = Checkpoint.Open(source);
        using Checkpoint after = Checkpoint.Open(target);
        Assert.That(ExpertReadSurvey.Of(before).Aligned, Is.LessThan(18));
        ExpertReadSurvey survey = ExpertReadSurvey.Of(after);
        Assert.That((survey.Experts, survey.Aligned), Is.EqualTo((18, 18)));
        Assert.That((survey.Bytes.Least, survey.Bytes.Most, survey.Waste), Is.EqualTo(((long)survey.Needed, (long)survey.Needed, 0.0)));
    }

    [Test]
    public void Repacking_is_worthwhile_where_reads_are_many_or_bring_in_what_nobody_needs()
    {
        RepackGain few = Gain(reads: 2, bytes: 1_000_000, needed: 995_000);
        Assert.That(few.IsWorthwhile, Is.False);
        Assert.That(few.Saving, Is.InRange(0.05, 0.15));
        Assert.That(Gain(reads: 3, bytes: 1_000_000, needed: 995_000).IsWorthwhile);
        Assert.That(Gain(reads: 1, bytes: 1_000_000, needed: 900_000).IsWorthwhile);
        Assert.That(Gain(reads: 1, bytes: 1_000_000, needed: 990_000).IsWorthwhile, Is.False);
        Assert.That(new RepackGain(new(0, default, default, 0, 0), new(0, default, default, 0, 0)).IsWorthwhile, Is.False, "no experts");
    }

    private static RepackGain Gain(int reads, long bytes, long needed) => new(
        new ExpertReadSurvey(10, new Spread(reads, reads, reads), new Spread(bytes, bytes, bytes), needed, 0),
        new ExpertReadSurvey(10, new Spread(1, 1, 1), new Spread(needed, needed, needed), needed, 10));

    private string Write(string shape)
    {
        var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false);
        return SyntheticCheckpoint.Prepare(BenchShape.Parse(shape), _folder, streams, CancellationToken.None);
    }
}
