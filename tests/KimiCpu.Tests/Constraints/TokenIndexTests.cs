// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Constraints;

[TestFixture]
internal sealed class TokenIndexTests
{
    /// <summary>Else no call of the process could have a constraint any more.</summary>
    [Test]
    public void What_there_was_no_memory_for_is_made_by_the_next_one_who_asks()
    {
        KimiTokenizer tokenizer = KimiTokenizer.Open(Repository.NanoModel);
        Assert.That(() => TokenIndex.Of(tokenizer, _ => throw new InsufficientMemoryException()), Throws.InstanceOf<OutOfMemoryException>());
        TokenIndex made = TokenIndex.Of(tokenizer);
        Assert.That(TokenIndex.Of(tokenizer), Is.SameAs(made));
    }
}
