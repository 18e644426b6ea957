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

    private static JsonElement Schema(int i) => JsonElement.Parse($$"""{"multipleOf":{{i}}}""");
}
