// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// The schemas of a document that have an address (<c>$id</c>), as references name them in files that several schemas were bundled into, and in what generators write
/// for types that refer to themselves.
/// </summary>
internal sealed class SchemaAddresses
{
    /// <summary>For a character of an address that is put together.</summary>
    private const int WorkOfCharacter = 8;

    /// <summary>Around addresses of which none says where they are.</summary>
    private static readonly Uri s_nowhere = new("https://schema.invalid/");

    private readonly CompileBudget _budget;
    private readonly Dictionary<SchemaElement, Uri> _addresses = [];
    private readonly Dictionary<string, SchemaElement> _byAddress = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SchemaElement> _byText = new(StringComparer.Ordinal);

    public SchemaAddresses(SchemaElement root, CompileBudget budget)
    {
        _budget = budget;
        Read(root, s_nowhere);
    }

    /// <summary>The schema of an address; null where it is not in the document.</summary>
    /// <param name="from">Where the address stands.</param>
    /// <param name="address">Without what comes behind <c>#</c>.</param>
    public SchemaElement? Find(SchemaElement from, string address) =>
        Combine(_addresses.GetValueOrDefault(from.Base, s_nowhere), address) is { } whole && _byAddress.TryGetValue(whole.AbsoluteUri, out SchemaElement? found)
            ? found
            : _byText.GetValueOrDefault(address);

    /// <summary>The first one of an address counts.</summary>
    private void Read(SchemaElement schema, Uri around)
    {
        if (schema.Address?.Split('#')[0] is { Length: > 0 } address)
        {
            _byText.TryAdd(address, schema);
            if (Combine(around, address) is { } whole)
            {
                _budget.CountCells(whole.AbsoluteUri.Length);
                _byAddress.TryAdd(whole.AbsoluteUri, schema);
                around = whole;
            }

            _addresses.Add(schema, around);
        }

        foreach ((string keyword, SchemaElement value) in schema.Members)
        {
            foreach (SchemaElement inner in SchemasOf(keyword, value))
            {
                Read(inner, around);
            }
        }
    }

    /// <summary>Listed values, defaults and examples may look like schemas and are none.</summary>
    private static IEnumerable<SchemaElement> SchemasOf(string keyword, SchemaElement value) => keyword switch
    {
        "$defs" or "definitions" or "properties" or "patternProperties" => value.Members.Values,
        "allOf" or "anyOf" or "oneOf" or "prefixItems" => value.Items,
        "items" or "additionalProperties" => [value],
        _ => [],
    };

    private Uri? Combine(Uri around, string address)
    {
        _budget.Spend(WorkOfCharacter * ((long)around.AbsoluteUri.Length + address.Length));

        // Asked for as a relative one first: on Unix what begins with a slash would be the address of a file.
        Uri? whole = Uri.TryCreate(address, UriKind.Relative, out Uri? relative) ? (Uri.TryCreate(around, relative, out Uri? inside) ? inside : null)
            : Uri.TryCreate(address, UriKind.Absolute, out Uri? absolute) ? absolute
            : null;
        return whole is { IsAbsoluteUri: true } ? whole : null;
    }
}
