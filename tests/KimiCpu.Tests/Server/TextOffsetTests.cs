// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Server.OpenAI;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Server;

[TestFixture]
internal sealed class TextOffsetTests
{
    /// <summary>A character of several tokens begins where the first of them does, and so does each of its tokens.</summary>
    [TestCase("ROMEO:\nWhat light")]
    [TestCase("a\U0001F600b\U0001F601\u4F60\u597D, c")]
    public void A_token_begins_behind_the_characters_that_are_complete_before_it(string text)
    {
        KimiTokenizer tokenizer = KimiTokenizer.Open(Repository.NanoModel);
        int[] tokens = tokenizer.Encode(text);
        var offset = new TextOffset(tokenizer);
        Decoder decoder = Encoding.UTF8.GetDecoder();
        int length = 0;
        foreach (int token in tokens)
        {
            Assert.That(offset.Next(token), Is.EqualTo(length));
            byte[] bytes = tokenizer.GetBytes(token).ToArray();
            length += decoder.GetChars(bytes, new char[bytes.Length + 4], flush: false);
        }

        Assert.That(length, Is.EqualTo(text.Length));
    }
}
