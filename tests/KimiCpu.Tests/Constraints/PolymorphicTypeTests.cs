// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Constraints;

/// <summary>Types that System.Text.Json tells apart by their first member, which a constraint puts there.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class PolymorphicTypeTests
{
    private static readonly JsonSerializerOptions s_options = new(JsonSerializerDefaults.Web) { TypeInfoResolver = new DefaultJsonTypeInfoResolver() };

    [JsonDerivedType(typeof(Dog), "dog")]
    [JsonDerivedType(typeof(Cat), "cat")]
    internal abstract record Animal(string Name);

    internal sealed record Dog(string Name, string Breed) : Animal(Name);

    internal sealed record Cat(string Name, bool Purrs, Animal[] Kittens) : Animal(Name);

    [JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
    [JsonDerivedType(typeof(Circle), 1)]
    [JsonDerivedType(typeof(Square), 2)]
    internal abstract record Shape;

    internal sealed record Circle(string Radius) : Shape;

    internal sealed record Square(bool IsLarge) : Shape;

    internal sealed record Page(Shape Shape, Animal? Animal);

    [Test]
    public void What_a_constraint_allows_can_be_read([Values(typeof(Animal), typeof(Shape), typeof(Page))] Type type, [Values] bool ofChatClient)
    {
        JsonSerializerOptions options = ofChatClient ? AIJsonUtilities.DefaultOptions : s_options;
        string schema = ofChatClient ? AIJsonUtilities.CreateJsonSchema(type).GetRawText() : options.GetJsonSchemaAsNode(type).ToJsonString();
        ConstraintReader reader = ConstraintReader.OfSchema(schema);
        for (int seed = 0; seed < 60; seed++)
        {
            string text = reader.Sample(new Random(seed));
            Assert.That(() => JsonSerializer.Deserialize(text, type, options), Throws.Nothing, text);
        }
    }

    /// <summary>Of several the schema's order, and those that need not be there, or have a choice, come whenever they like.</summary>
    [TestCase("""{"$type":"a","n":1}""", true)]
    [TestCase("""{"n":1,"$type":"a"}""", false)]
    [TestCase("""{"$type":"b","version":2,"m":1,"kind":"x"}""", true)]
    [TestCase("""{"version":2,"$type":"b","m":1}""", false)]
    [TestCase("""{"$type":"b","m":1,"version":2}""", false)]
    [TestCase("""{"kind":"x","$type":"b","version":2,"m":1}""", false)]
    [TestCase("""{"o":"o","n":1}""", true)]
    [TestCase("""{"n":1,"o":"o"}""", true)]
    public void Required_members_with_one_value_come_first(string text, bool allowed)
    {
        const string Schema = """
            {"anyOf":[
                {"type":"object","properties":{"n":{"type":"integer"},"$type":{"const":"a"}},"required":["n","$type"]},
                {"type":"object","properties":{"$type":{"type":"string","enum":["b"]},"version":{"const":2},"m":{"type":"integer"}},"required":["m","version","$type"],"additionalProperties":{"enum":["x","y"]}},
                {"type":"object","properties":{"o":{"const":"o"},"n":{"enum":[1,2]}},"required":["n"]}]}
            """;
        Assert.That(ConstraintReader.OfSchema(Schema).Accepts(text), Is.EqualTo(allowed));
    }
}
