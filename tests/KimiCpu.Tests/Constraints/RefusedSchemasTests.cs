// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;

namespace KimiCpu.Tests.Constraints;

/// <summary>What is kept of schemas that were refused.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class RefusedSchemasTests
{
    [Test]
    public void What_took_long_is_kept_longest()
    {
        var refused = new RefusedSchemas();
        refused.Keep(Schema(0), new SchemaRefusal("large", 1_000_000, isFinal: true));
        for (int i = 1; i <= 3 * ToolSchemas.Capacity; i++)
        {
            refused.Keep(Schema(i), new SchemaRefusal("small", i % 100, isFinal: true));
            Assert.That(refused.Find(Schema(i))?.Message, Is.EqualTo("small"), "the latest one is kept in any case");
        }

        Assert.That(refused.Find(Schema(0))?.Message, Is.EqualTo("large"));
        Assert.That(Enumerable.Range(0, 3 * ToolSchemas.Capacity).Count(i => refused.Find(Schema(i)) is not null), Is.LessThanOrEqualTo(ToolSchemas.Capacity));
    }

    /// <summary>Of an agent's tools, say, on a server that has seen many others; each of them is told once, and not in each call.</summary>
    [Test]
    public void What_is_asked_for_in_each_call_stays_beside_what_took_longer()
    {
        var refused = new RefusedSchemas();
        for (int i = 1; i <= ToolSchemas.Capacity; i++)
        {
            refused.Keep(Schema(i), new SchemaRefusal("large", 1_000_000, isFinal: true));
        }

        refused.Keep(Schema(1001), new SchemaRefusal("small", 10, isFinal: true));
        refused.Keep(Schema(1002), new SchemaRefusal("small", 10, isFinal: true));
        for (int call = 0; call < 3; call++)
        {
            Assert.That(refused.Find(Schema(1001)), Is.Not.Null);
            Assert.That(refused.Find(Schema(1002)), Is.Not.Null);
            refused.Keep(Schema(2000 + call), new SchemaRefusal("large", 1_000_000, isFinal: true));
        }
    }

    private static JsonElement Schema(int i) => JsonElement.Parse($$"""{"multipleOf":{{i}}}""");
}
