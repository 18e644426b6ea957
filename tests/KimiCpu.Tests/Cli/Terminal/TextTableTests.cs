// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class TextTableTests
{
    [Test]
    public void Long_texts_take_no_room_from_numbers([Values(10, 150, 5000)] int length)
    {
        var output = new StringWriter();
        var streams = new CliStreams(Stream.Null, output, TextWriter.Null, IsTerminal: true);
        string text = new('x', length);
        TextTable.Write(streams, ["machine", ">", ""], [["memory", "64.0 GB", $"measured here, {text}"], [$"drive {text}", "7 GB/s", "[given]"]]);
        int width = "drive ".Length + length;
        Assert.That(output.ToString().Split(Environment.NewLine), Is.EqualTo(new[]
        {
            "machine",
            "memory".PadRight(width) + $" 64.0 GB measured here, {text}",
            $"drive {text}  7 GB/s [given]",
            "",
        }));
    }
}
