// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Constraints;

/// <summary>Schemas of which random texts are taken, and documents judged.</summary>
internal static class ExampleSchemas
{
    public const string Search = """
        {"type":"object","additionalProperties":false,"required":["query","filters"],"properties":{
        "query":{"type":"string","minLength":1,"maxLength":200,"pattern":"^.+$"},
        "filters":{"type":"array","minItems":1,"items":{"type":"object","required":["field"],"properties":{"field":{"type":"string"},"value":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"null"}]},"tags":{"type":"array","items":{"type":"string"}}}}},
        "mode":{"type":["string","null"],"description":"null: automatic"},"limit":{"type":"integer","default":10},"ratio":{"type":"number","default":0.5},"strict":{"type":"boolean","default":true},"extra":{"type":"object","additionalProperties":{"type":"string"}}}}
        """;

    public const string Tree = """{"type":"object","required":["value"],"properties":{"value":{"type":"number"},"children":{"type":"array","items":{"$ref":"#"}}}}""";

    /// <summary>Branches that differ only in what they do not declare, of which all is declared beside them.</summary>
    public const string DeclaredBeside = """
        {"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},
        "oneOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]}
        """;

    /// <summary>As generators write variants of an open base.</summary>
    public const string OpenBase = """
        {"type":"object","additionalProperties":true,"oneOf":[{"$ref":"#/$defs/Card"},{"$ref":"#/$defs/Iban"}],"$defs":{
        "Card":{"type":"object","properties":{"card":{"type":"string"}},"required":["card"]},
        "Iban":{"type":"object","properties":{"iban":{"type":"string"}},"required":["iban"]}}}
        """;

    public const string NestedVariants = """
        {"type":"object","properties":{"by":{"type":"object","additionalProperties":{"type":"string"}}},"oneOf":[
        {"type":"object","properties":{"by":{"type":"object","properties":{"card":{}},"required":["card"]}},"required":["by"]},
        {"type":"object","properties":{"by":{"type":"object","properties":{"iban":{}},"required":["iban"]}},"required":["by"]}]}
        """;

    /// <summary>A member that may be missing, as generators write it, or one of several objects.</summary>
    public const string NullableMember = """
        {"type":"object","properties":{"m":{"type":["object","null"],"additionalProperties":{"type":"integer"}}},"oneOf":[
        {"type":"object","required":["m"],"properties":{"m":{"anyOf":[{"type":"object","properties":{"a":{}},"required":["a"]},{"type":"object","properties":{"c":{}},"required":["c"]},{"type":"null"}]}}},
        {"type":"object","required":["m"],"properties":{"m":{"type":"object","properties":{"b":{}},"required":["b"]}}}]}
        """;

    /// <summary>Branches that another required member would tell apart too, at the price of what it forbids.</summary>
    public const string LateDiscriminator = """
        {"type":"object","properties":{"payload":{"type":"object","additionalProperties":{"type":"integer"}}},"oneOf":[
        {"type":"object","required":["payload","type"],"properties":{"payload":{"type":"object","properties":{"a":{}},"required":["a"]},"type":{"enum":["A","a"]}}},
        {"type":"object","required":["payload","type"],"properties":{"payload":{"type":"object","properties":{"b":{}},"required":["b"]},"type":{"enum":["B","b"]}}}]}
        """;

    public const string TwoChoices = """
        {"allOf":[
        {"oneOf":[{"type":"object","properties":{"a":{"type":"null"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"null"}},"required":["b"]}]},
        {"oneOf":[{"type":"object","properties":{"c":{"type":"null"}},"required":["c"]},{"type":"object","properties":{"d":{"type":"null"},"b":{"type":"null"}},"required":["d"]}]}]}
        """;
}
