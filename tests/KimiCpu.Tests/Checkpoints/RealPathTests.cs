// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

[TestFixture]
[Platform(Exclude = "Win", Reason = "Links need rights there.")]
internal sealed class RealPathTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = RealPath.Of(Directory.CreateTempSubdirectory("kimicpu").FullName);

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Links_on_the_way_and_at_the_end_are_followed()
    {
        string place = Directory.CreateDirectory(Path.Combine(_folder, "place", "inner")).FullName;
        Directory.CreateSymbolicLink(Path.Combine(_folder, "first"), "place");
        Directory.CreateSymbolicLink(Path.Combine(_folder, "second"), Path.Combine("first", "inner"));
        Assert.That(RealPath.Of(Path.Combine(_folder, "second")), Is.EqualTo(place));
        Assert.That(RealPath.Of(Path.Combine(_folder, "first", "inner", "new")), Is.EqualTo(Path.Combine(place, "new")));
        File.CreateSymbolicLink(Path.Combine(_folder, "nowhere"), "none");
        Assert.That(RealPath.Of(Path.Combine(_folder, "nowhere")), Is.EqualTo(Path.Combine(_folder, "none")).Or.EqualTo(Path.Combine(_folder, "nowhere")));
    }

    /// <summary>To itself, to another that leads back, and below itself, where following them never ends.</summary>
    [TestCase("loop", "loop", "loop")]
    [TestCase("a", "b", "a")]
    [TestCase("loop", "loop/x", "loop")]
    [TestCase("a", "b/x", "a/y")]
    [CancelAfter(30_000)]
    public Task Links_in_a_circle_come_back(string link, string target, string back, CancellationToken cancellationToken)
    {
        File.CreateSymbolicLink(Path.Combine(_folder, link), target);
        if (link != back)
        {
            File.CreateSymbolicLink(Path.Combine(_folder, target.Split('/')[0]), back);
        }

        return Task.Run(() =>
        {
            Assert.That(RealPath.Of(Path.Combine(_folder, link)), Does.StartWith(_folder));
            Assert.That(RealPath.Of(Path.Combine(_folder, link, "out")), Does.StartWith(_folder));
        }, cancellationToken).WaitAsync(cancellationToken);
    }
}
