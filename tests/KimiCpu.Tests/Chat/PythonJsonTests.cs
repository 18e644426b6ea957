// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

[TestFixture]
internal sealed class PythonJsonTests
{
    /// <summary>Expectations by Python 3's <c>json.dumps(json.loads(text), ensure_ascii=False)</c>.</summary>
    [TestCase("""{"b":[1,-0,12345678901234567890],"a":null}""", """{"b": [1, 0, 12345678901234567890], "a": null}""")]
    [TestCase("[1.0,1e5,0.1,-2.50,1e16,123456789012345680.0,1E-5,0.0001,5e-324,1.7976931348623157e308,1e999,-0.0,9007199254740993.0]", "[1.0, 100000.0, 0.1, -2.5, 1e+16, 1.2345678901234568e+17, 1e-05, 0.0001, 5e-324, 1.7976931348623157e+308, Infinity, -0.0, 9007199254740992.0]")]
    [TestCase("""["\u0001\u001f\u007f\b\f\n\r\t\"\\\/<>&'é😀\u2028"]""", "[\"\\u0001\\u001f\u007f\\b\\f\\n\\r\\t\\\"\\\\/<>&'é😀\u2028\"]")]
    [TestCase("""{"a":1,"b":true,"a":{}}""", """{"a": {}, "b": true}""")]
    public void Writes_as_Python(string json, string expected)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        Assert.That(PythonJson.Write(document.RootElement), Is.EqualTo(expected));
    }

    [Test]
    public void Compact_and_sorted_by_code_points()
    {
        using JsonDocument document = JsonDocument.Parse("""{"z":[{"b":1,"a":2}],"😀":1,"\uffee":2,"Z":3}""");
        Assert.That(PythonJson.Write(document.RootElement, compact: true, sorted: true), Is.EqualTo("{\"Z\":3,\"z\":[{\"a\":2,\"b\":1}],\"\uffee\":2,\"😀\":1}"));
    }
}
