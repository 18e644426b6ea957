// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// A schema inside a document, or what holds schemas. One place of a document is one object, so that elements are told apart
/// without the texts of their places, which long names would make long, and keywords are looked up without reading all of them.
/// </summary>
internal sealed class SchemaElement
{
    private const int WorkOfMember = 32;

    private static readonly JsonElement s_object = JsonElement.Parse("{}");

    private readonly SchemaDocument _document;
    private readonly SchemaElement? _parent;
    private readonly string _name;
    private readonly Func<string>? _path;
    private Dictionary<string, SchemaElement>? _members;
    private SchemaElement[]? _items;
    private string[]? _required;
    private ValueList? _values;

    /// <param name="document">Numbers the element.</param>
    /// <param name="json">Any value.</param>
    /// <param name="name">Of a member or the place of an item; of a root what its path begins with.</param>
    /// <param name="parent">Null for a root.</param>
    public SchemaElement(SchemaDocument document, JsonElement json, string name, SchemaElement? parent = null)
    {
        (_document, Json, _name, _parent) = (document, json, name, parent);
        Number = document.NextNumber();
    }

    /// <param name="document">Numbers the element.</param>
    /// <param name="members">Of an object that was never written.</param>
    /// <param name="path">What its path is.</param>
    public SchemaElement(SchemaDocument document, Dictionary<string, SchemaElement> members, Func<string> path)
        : this(document, s_object, "") => (_members, _path) = (members, path);

    public JsonElement Json { get; }

    /// <summary>Tells it apart from all others.</summary>
    public int Number { get; }

    /// <summary>Whether it is false, or says so by excluding everything.</summary>
    public bool IsNothing => Json.ValueKind == JsonValueKind.False || Member("not") is { Json.ValueKind: JsonValueKind.True } or { Json.ValueKind: JsonValueKind.Object, Members.Count: 0 };

    /// <summary>JSON pointer as a fragment, such as <c>#/properties/a</c>, for messages.</summary>
    public string Path => _parent is null ? _path?.Invoke() ?? _name : $"{_parent.Path}/{SchemaPath.Escape(_name)}";

    /// <summary>Member by member, in order. Of those with one name the last counts, as for readers of JSON. Empty for what is no object.</summary>
    public IReadOnlyDictionary<string, SchemaElement> Members
    {
        get
        {
            if (_members is null)
            {
                _members = new Dictionary<string, SchemaElement>(StringComparer.Ordinal);
                if (Json.ValueKind == JsonValueKind.Object)
                {
                    foreach (JsonProperty member in Json.EnumerateObject())
                    {
                        string name = member.Name;
                        _document.Budget.Spend(WorkOfMember + name.Length);
                        _members[name] = new SchemaElement(_document, member.Value, name, this);
                    }
                }
            }

            return _members;
        }
    }

    /// <summary>
    /// What # stands for in its references: the innermost schema with an address of its own, as in files that several schemas were bundled into.
    /// Found once, since an address may be as long as the schema and is asked for by each reference.
    /// </summary>
    public SchemaElement Base => field ??= Address is not null ? this : _parent?.Base ?? _document.Root;

    /// <summary>Of a schema; null for none. What begins with # is the name of a place, as older drafts wrote it, and no address.</summary>
    public string? Address => TryGet("$id", out JsonElement id) && id.ValueKind == JsonValueKind.String && id.GetString() is { } text && !text.StartsWith('#') ? text : null;

    /// <summary>Empty for what is no array.</summary>
    public IReadOnlyList<SchemaElement> Items => _items ??= Json.ValueKind == JsonValueKind.Array ? [.. Json.EnumerateArray().Select(Item)] : [];

    /// <summary>The names of <c>required</c>, each once.</summary>
    public IReadOnlyList<string> Required => _required ??= Member("required") is { } names ? [.. NamesOf(names).Distinct(StringComparer.Ordinal)] : [];

    /// <summary>The items of a list as values, which <c>enum</c> takes.</summary>
    public ValueList Listed => _values ??= new ValueList([.. Json.EnumerateArray()], _document.Budget);

    /// <summary>Itself as the only value, as <c>const</c> takes it.</summary>
    public ValueList Only => _values ??= new ValueList([Json], _document.Budget);

    /// <summary>What it is inside of, the innermost first.</summary>
    public IEnumerable<SchemaElement> Ancestors()
    {
        for (SchemaElement? at = _parent; at is not null; at = at._parent)
        {
            yield return at;
        }
    }

    /// <summary>The value of a keyword; null where it is not there.</summary>
    public SchemaElement? Member(string keyword) => Members.GetValueOrDefault(keyword);

    /// <summary>The value of a keyword, if it is there, to be read. A text or a number may be as long as the schema, and is read for each alternative.</summary>
    public bool TryGet(string keyword, out JsonElement value)
    {
        SchemaElement? member = Member(keyword);
        value = member?.Json ?? default;
        if (value.ValueKind is JsonValueKind.String or JsonValueKind.Number)
        {
            _document.Budget.Spend(JsonMarshal.GetRawUtf8Value(value).Length);
        }

        return member is not null;
    }

    /// <summary>The schemas of a list.</summary>
    public IReadOnlyList<SchemaElement> Children(string keyword) => Member(keyword) switch
    {
        null => [],
        { Json.ValueKind: JsonValueKind.Array } list => list.Items,
        _ => throw Error($"'{keyword}' takes a list of schemas"),
    };

    /// <summary>The schemas of an object, by name and in order.</summary>
    public IReadOnlyDictionary<string, SchemaElement> NamedChildren(string keyword) => Member(keyword) switch
    {
        null => System.Collections.ObjectModel.ReadOnlyDictionary<string, SchemaElement>.Empty,
        { Json.ValueKind: JsonValueKind.Object } names => names.Members,
        _ => throw Error($"'{keyword}' takes an object of schemas"),
    };

    /// <summary>Tells schemas that hold together apart from others.</summary>
    public static string KeyOf(IEnumerable<SchemaElement> schemas) =>
        string.Join(' ', schemas.Where(s => s.Json.ValueKind != JsonValueKind.True).Select(s => s.Number).Distinct().Order());

    public KimiConstraintException Error(string problem) => SchemaPath.Error(Path, problem);

    /// <summary>A problem that was found without knowing its place.</summary>
    public KimiConstraintException Error(KimiConstraintException problem) => new($"JSON Schema, at {Path}: {problem.Message}", problem);

    private SchemaElement Item(JsonElement item, int place)
    {
        _document.Budget.Spend(WorkOfMember);
        return new SchemaElement(_document, item, place.ToString(CultureInfo.InvariantCulture), this);
    }

    private IEnumerable<string> NamesOf(SchemaElement names)
    {
        foreach (JsonElement name in names.Json.ValueKind == JsonValueKind.Array ? names.Json.EnumerateArray() : throw Error("'required' takes a list of names"))
        {
            _document.Budget.Spend(WorkOfMember);
            yield return name.ValueKind == JsonValueKind.String ? name.GetString()! : throw Error("'required' takes a list of names");
        }
    }
}
