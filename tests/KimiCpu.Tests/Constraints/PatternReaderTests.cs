// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Schemas;

namespace KimiCpu.Tests.Constraints;

[TestFixture]
internal sealed class PatternReaderTests
{
    /// <summary>Each character leads to a state of its own, which tells a hundred classes of bytes apart.</summary>
    [Test, CancelAfter(120_000)]
    public void States_of_many_patterns_take_no_more_than_their_limit(CancellationToken cancellationToken)
    {
        var budget = new CompileBudget(cancellationToken);
        SchemaElement schema = new SchemaDocument(JsonElement.Parse("{}"), budget).Root;
        var reader = new PatternReader(budget);
        string ascii = string.Concat(Enumerable.Range('0', 75).Select(c => $"\\{(char)c}").Where(c => !char.IsAsciiLetterOrDigit(c[1])).Concat(Enumerable.Range('0', 75).Select(c => $"{(char)c}").Where(c => char.IsAsciiLetterOrDigit(c[0]))));
        string text = new('-', 40_000);
        long most = 0;
        for (int i = 0; i < 4; i++)
        {
            Assert.That(reader.Matches(schema, $"^({ascii})?.{{0,90000}}{i}?$", text), Is.True);
            most = Math.Max(most, reader.CachedBytes);
        }

        Assert.That(most, Is.InRange(20_000_000, 64_000_000), "one alone is kept");
        Assert.That(reader.Matches(schema, $"^({ascii})?.{{0,90000}}0?$", text + "é"), Is.True, "what is forgotten is found again");
        Assert.That(reader.Matches(schema, "^-{3}$", text), Is.False);
    }
}
