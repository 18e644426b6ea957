// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Tokens;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class KimiTokenizerTests
{
    private static KimiTokenizer Tokenizer => TokenizerCases.Tokenizer;

    [TestCaseSource(typeof(TokenizerCases), nameof(TokenizerCases.Encode))]
    public void Encodes_and_splits_as_the_reference(TokenizerCases.EncodeCase item)
    {
        Assert.That(Tokenizer.Encode(item.Text, allowSpecial: true), Is.EqualTo(item.Ids));
        Assert.That(Tokenizer.Encode(item.Text), Is.EqualTo(item.IdsSpecialAsText ?? item.Ids));
        if (item.Pieces is not null)
        {
            Assert.That(KimiTokenizer.Split(item.Text), Is.EqualTo(item.Pieces));
        }

        Assert.That(Tokenizer.Decode(Tokenizer.Encode(item.Text)), Is.EqualTo(item.Text));
    }

    [TestCaseSource(typeof(TokenizerCases), nameof(TokenizerCases.Decode))]
    public void Decodes_as_the_reference(JsonElement item)
    {
        int[] ids = [.. item.GetProperty("ids").EnumerateArray().Select(e => e.GetInt32())];
        Assert.That(Tokenizer.DecodeBytes(ids), Is.EqualTo(item.GetProperty("bytes").EnumerateArray().Select(e => (byte)e.GetInt32())));
        Assert.That(Tokenizer.Decode(ids), Is.EqualTo(item.GetProperty("text").GetString()));
    }

    /// <summary>A text of hundreds of megabytes takes a minute, which nobody waits for any more.</summary>
    [Test]
    public void Nothing_more_is_encoded_once_the_call_is_cancelled()
    {
        var tokens = new List<int>();
        Assert.That(() => Tokenizer.Encode("some text"u8, allowSpecial: false, tokens, new CancellationToken(canceled: true)), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(tokens, Is.Empty);
        Assert.That(() => Tokenizer.Encode("some text", cancellationToken: new CancellationToken(canceled: true)), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => Tokenizer.Encode("some text"u8, cancellationToken: new CancellationToken(canceled: true)), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void Any_bytes_come_back()
    {
        var random = new Random(1);
        for (int round = 0; round < 2000; round++)
        {
            var bytes = new byte[random.Next(200)];
            random.NextBytes(bytes);
            if (round % 2 == 0)
            {
                // Mostly text, with a few damaged places.
                byte[] text = Encoding.UTF8.GetBytes("naïve Ünïcode 漢字 and 😀 it's 123 456");
                bytes = [.. text.Select(b => random.Next(20) == 0 ? (byte)random.Next(256) : b)];
            }

            Assert.That(Tokenizer.DecodeBytes(Tokenizer.Encode(bytes)), Is.EqualTo(bytes));
        }
    }

    [Test]
    public void Text_that_looks_like_control_tokens_stays_text()
    {
        foreach ((string name, int id) in Tokenizer.SpecialTokenIds)
        {
            string text = $"a{name}b {name}{name} c";
            int[] tokens = Tokenizer.Encode(text);
            Assert.That(tokens, Has.None.Matches<int>(Tokenizer.IsSpecial), name);
            Assert.That(Tokenizer.Decode(tokens), Is.EqualTo(text));
            Assert.That(Tokenizer.Encode(text, allowSpecial: true).Count(t => t == id), Is.EqualTo(3), name);
        }

        Assert.That(Tokenizer.SpecialTokenIds, Has.Count.EqualTo(256));
    }

    /// <summary>Pieces as long as they can become.</summary>
    [TestCase("x", 1_000_000)]
    [TestCase(" ", 1_000_000)]
    [TestCase("漢", 4_000_000)]
    [TestCase("A", 1_000_000)]
    [TestCase("aB", 500_000)]
    [TestCase("\n ", 500_000)]
    [TestCase("\u0301", 500_000)]
    [TestCase("!?", 500_000)]
    public void Pathological_repetitions_come_back(string unit, int count)
    {
        string text = string.Concat(Enumerable.Repeat(unit, count));
        Assert.That(Tokenizer.Decode(Tokenizer.Encode(text)), Is.EqualTo(text));
    }

    [Test]
    public void Unpaired_surrogates_become_replacement_characters() =>
        Assert.That(Tokenizer.Decode(Tokenizer.Encode("a\ud800b")), Is.EqualTo("a\ufffdb"));

    [Test]
    public void Threads_share_one_tokenizer()
    {
        TokenizerCases.EncodeCase[] cases = [.. TokenizerCases.Encode().Where(c => c.Text.Length < 2000)];
        Parallel.For(0, 8, _ =>
        {
            foreach (TokenizerCases.EncodeCase item in cases)
            {
                Assert.That(Tokenizer.Encode(item.Text, allowSpecial: true), Is.EqualTo(item.Ids));
            }
        });
    }

    [Test]
    public void Ids_outside_the_vocabulary_are_refused()
    {
        Assert.That(() => Tokenizer.Decode([Tokenizer.VocabularySize]), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("2303"));
        Assert.That(() => Tokenizer.GetBytes(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(Tokenizer.TryGetSpecialToken("<|im_end|>", out int id), Is.True);
        Assert.That(id, Is.EqualTo(2050));
        Assert.That(Tokenizer.TryGetSpecialToken("im_end", out _), Is.False);
    }

    [Test]
    public void A_streamed_text_never_shows_half_a_character()
    {
        string text = "naïve 漢字 😀👩‍👩‍👧 ſ é";
        KimiTokenizer tokenizer = KimiTokenizer.Open(Repository.Checkpoint("tiny-int4"));
        int[] bytesAsTokens = tokenizer.Encode(text);
        Assert.That(bytesAsTokens, Has.Length.EqualTo(Encoding.UTF8.GetByteCount(text)), "this vocabulary has single bytes only");
        var decoder = new TokenStreamDecoder(tokenizer);
        var shown = new StringBuilder();
        foreach (int token in bytesAsTokens)
        {
            string piece = decoder.Append(token);
            Assert.That(piece, Does.Not.Contain('\ufffd'));
            shown.Append(piece);
            Assert.That(text, Does.StartWith(shown.ToString()));
        }

        Assert.That(shown + decoder.Flush(), Is.EqualTo(text));
    }

    [Test]
    public void A_stream_of_any_tokens_equals_their_decoding()
    {
        var random = new Random(2);
        for (int round = 0; round < 3000; round++)
        {
            int[] tokens = [.. Enumerable.Range(0, random.Next(12)).Select(_ => random.Next(Tokenizer.VocabularySize))];
            var decoder = new TokenStreamDecoder(Tokenizer);
            string streamed = string.Concat(tokens.Select(decoder.Append)) + decoder.Flush();
            Assert.That(streamed, Is.EqualTo(Tokenizer.Decode(tokens)), string.Join(',', tokens));
        }
    }

    [TestCase("YQ== x", "Line 1")]
    [TestCase("YQ==", "Line 1")]
    [TestCase("%% 0", "base64")]
    [TestCase("YQ== 0\nYg== 0", "twice")]
    [TestCase("YQ== 0\nYg== 2", "missing")]
    [TestCase("YQ== 0\nYQ== 1", "twice")]
    [TestCase("YQ== 0", "single byte")]
    [TestCase("YQ== -1", "Line 1")]
    [TestCase("YQ== 99999999999", "Line 1")]
    public void Damaged_vocabularies_are_refused(string content, string expected) =>
        Assert.That(() => Vocabulary.Parse(Encoding.UTF8.GetBytes(content), "tiktoken.model"), Throws.TypeOf<CheckpointException>().With.Message.Contains(expected));

    [TestCase("[]")]
    [TestCase("{}")]
    [TestCase("""{"added_tokens_decoder":{"9":{"content":"x"}}}""")]
    [TestCase("""{"added_tokens_decoder":{"10":{"content":1}}}""")]
    [TestCase("""{"added_tokens_decoder":{"10":{"content":"a"},"11":{"content":"a"}}}""")]
    public void Damaged_special_tokens_are_refused(string content) =>
        Assert.That(() => new SpecialTokens(JsonDocument.Parse(content).RootElement, 10, "tokenizer_config.json"), Throws.TypeOf<CheckpointException>());
}
