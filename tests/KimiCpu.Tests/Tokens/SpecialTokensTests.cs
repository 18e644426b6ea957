// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Tokens;

[TestFixture]
internal sealed class SpecialTokensTests
{
    private const int First = 1000;

    /// <summary>Names that begin with one another, with others' ends, and with parts of characters.</summary>
    private static readonly string[] s_names = ["<|a|>", "<|a|><|b|>c", "<|a", "[", "[x]", "é", "éè<", "<<|a|>", "<|im_end|>", "<|im_middle|>", "<|tool_calls_section_begin|>"];

    [Test]
    public void The_leftmost_and_there_the_longest_is_found()
    {
        var tokens = new SpecialTokens(JsonSerializer.SerializeToElement(new { added_tokens_decoder = s_names.Select((name, i) => (name, i)).ToDictionary(t => $"{First + t.i}", t => new { content = t.name }) }), First, "");
        (byte[] Name, int Id)[] longestFirst = [.. tokens.Ids.Select(t => (Encoding.UTF8.GetBytes(t.Key), t.Value)).OrderByDescending(t => t.Item1.Length)];
        byte[][] pieces = [.. longestFirst.Select(t => t.Name), .. longestFirst.Select(t => t.Name[..(t.Name.Length / 2)]), "<"u8.ToArray(), "<|"u8.ToArray(), "a|>"u8.ToArray(), "\u00ea"u8.ToArray(), "<|reserved_token_10"u8.ToArray()];
        var random = new Random(12);
        int found = 0;
        for (int round = 0; round < 20_000; round++)
        {
            byte[] text = [.. Enumerable.Range(0, random.Next(5)).SelectMany(_ => pieces[random.Next(pieces.Length)].Skip(random.Next(2)))];
            var expected = Enumerable.Range(0, text.Length)
                .SelectMany(start => longestFirst.Where(t => text.AsSpan(start).StartsWith(t.Name)).Select(t => (Start: start, t.Name.Length, t.Id)))
                .FirstOrDefault((Start: -1, Length: 0, Id: -1));
            Assert.That(tokens.TryFind(text, out int start, out int length, out int id), Is.EqualTo(expected.Start >= 0));
            Assert.That((start, length, id), Is.EqualTo(expected), Encoding.UTF8.GetString(text));
            found += expected.Start >= 0 ? 1 : 0;
        }

        Assert.That(found, Is.InRange(5_000, 19_000));
    }

    /// <summary>Each of its bytes is a node of a tree.</summary>
    [Test]
    public void A_name_as_long_as_a_book_is_refused([Values(1024, 1025)] int length)
    {
        var config = JsonSerializer.SerializeToElement(new { added_tokens_decoder = new Dictionary<string, object> { [$"{First + 7}"] = new { content = new string('x', length) } } });
        Assert.That(() => new SpecialTokens(config, First, "file"), length == 1024 ? Throws.Nothing : Throws.TypeOf<CheckpointException>().With.Message.Contains("at most 1,024 characters; found '1007'"));
    }
}
