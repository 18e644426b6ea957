// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>A JSON Schema with what it refers to.</summary>
internal sealed class SchemaDocument
{
    private int _elements;

    public SchemaDocument(JsonElement root, CompileBudget budget)
    {
        Budget = budget;
        Root = new SchemaElement(this, root, "#");
    }

    public CompileBudget Budget { get; }

    public SchemaElement Root { get; }

    /// <summary>The schema of no value. It is one object wherever it stands, as there may be one for each pair of branches.</summary>
    public SchemaElement Nothing => field ??= Beside("false", "false");

    /// <summary>Found for the first reference that has one.</summary>
    private SchemaAddresses Addresses => field ??= new SchemaAddresses(Root, Budget);

    /// <summary>For an element that is made.</summary>
    public int NextNumber() => _elements++;

    /// <summary>A schema that is not in the document and holds beside some that are.</summary>
    /// <param name="json">The schema.</param>
    /// <param name="name">What messages call it.</param>
    public SchemaElement Beside(string json, string name) => new(this, JsonElement.Parse(json), name);

    /// <summary>An object that is not in the document, of members that are made already.</summary>
    /// <param name="members">By name; the object keeps them.</param>
    /// <param name="name">What messages call it.</param>
    public SchemaElement Beside(Dictionary<string, SchemaElement> members, Func<string> name) => new(this, members, name);

    /// <summary>Whether a schema is in the document itself.</summary>
    public bool Has(SchemaElement schema) => schema == Root || schema.Ancestors().Contains(Root);

    /// <summary>The schema that a reference names.</summary>
    /// <exception cref="KimiConstraintException">It is not in this document.</exception>
    public SchemaElement Resolve(SchemaElement from, JsonElement reference)
    {
        string target = reference.ValueKind == JsonValueKind.String ? reference.GetString()! : throw from.Error("'$ref' takes a text");
        Budget.Spend(target.Length);
        string[] parts = target.Split('#', 2);
        string place = parts.Length > 1 ? $"#{parts[1]}" : "#";
        bool isPlace = place is "#" || place.StartsWith("#/", StringComparison.Ordinal);
        if (!isPlace || parts[0].Length > 0)
        {
            return (isPlace && Addresses.Find(from, parts[0]) is { } start ? Find(start, place) : null)
                ?? throw from.Error($"'$ref' to '{Excerpt.Of(target)}'; only references inside the schema are supported, such as '#/$defs/Name' or the '$id' of a schema in it");
        }

        // Generators that give a definition an address do not always write its references anew: where it has not got what they name, the whole schema may.
        return Find(from.Base, target) ?? Find(Root, target) ?? throw from.Error($"'$ref' to '{Excerpt.Of(target)}', which is not there");
    }

    private static SchemaElement? Find(SchemaElement start, string target)
    {
        SchemaElement? element = start;
        foreach (string part in target.Split('/').Skip(1))
        {
            string name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            element = element.Member(name) ?? Item(element, name);
            if (element is null)
            {
                break;
            }
        }

        return element;
    }

    private static SchemaElement? Item(SchemaElement list, string name) =>
        int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int index) && index < list.Items.Count ? list.Items[index] : null;
}
