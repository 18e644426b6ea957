// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class ByteSizeTests
{
    [TestCase("180GB", 180_000_000_000)]
    [TestCase("1.5 TB", 1_500_000_000_000)]
    [TestCase("64GiB", 64L << 30)]
    [TestCase("7mb", 7_000_000)]
    [TestCase("12", 12)]
    public void Sizes_are_read(string text, long bytes) => Assert.That(ByteSize.Parse(text), Is.EqualTo(bytes));

    [TestCase("")]
    [TestCase("GB")]
    [TestCase("-1GB")]
    [TestCase("0")]
    [TestCase("1e9")]
    [TestCase("99999999999TB")]
    public void Other_texts_are_refused(string text) => Assert.That(() => ByteSize.Parse(text), Throws.TypeOf<FormatException>());

    [TestCase(12, "12.0 B")]
    [TestCase(55_296, "55.3 KB")]
    [TestCase(9_914_700_000, "9.91 GB")]
    [TestCase(571_000_000_000, "571 GB")]
    public void Sizes_are_written(double bytes, string text) => Assert.That(ByteSize.Format(bytes), Is.EqualTo(text));
}
