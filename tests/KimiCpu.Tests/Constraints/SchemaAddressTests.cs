// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Constraints;

/// <summary>Formats of addresses and of the names of hosts.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaAddressTests
{
    [TestCase("https://example.com/a%20b?q=%C3%A9&r=1#%41-b", true)]
    [TestCase("http://localhost:49152/", true)]
    [TestCase("http://localhost:65535", true)]
    [TestCase("http://localhost:9", true)]
    [TestCase("http://localhost:10000", true)]
    [TestCase("http://localhost:59999", true)]
    [TestCase("http://localhost:64999", true)]
    [TestCase("http://localhost:65499", true)]
    [TestCase("http://localhost:65529", true)]
    [TestCase("http://localhost:65536", false)]
    [TestCase("http://localhost:65540", false)]
    [TestCase("http://localhost:66000", false)]
    [TestCase("http://localhost:70000", false)]
    [TestCase("http://localhost:100000", false)]
    [TestCase("http://my_host/x", true)]
    [TestCase("ftp://user:p%40ss@a.example/x", true)]
    [TestCase("http://[::1]:8080/a", true)]
    [TestCase("http://[2001:db8::7]", true)]
    [TestCase("http://[::1", false)]
    [TestCase("https://ec2-1-2-3-4.eu-west-1.compute.cloud.example.com", true)]
    [TestCase("mailto:a@b.c", true)]
    [TestCase("urn:x:y", true)]
    [TestCase("magnet:?xt=urn:btih:c12f", true)]
    [TestCase("file:///etc/x", true)]
    [TestCase("unix:/run/x.sock", true)]
    [TestCase("https://a.b/%2", false)]
    [TestCase("https://a.b/%zz", false)]
    [TestCase("https://a.b/a b", false)]
    [TestCase("https://", false)]
    [TestCase("https://a..b/", false)]
    [TestCase("https://a.b/\"x", false)]
    [TestCase("//a.b:80/c", false)]
    [TestCase("a/b", false)]
    [TestCase("c:/x", false)]
    [TestCase("", false)]
    public void Addresses_are_what_rfc_3986_calls_so(string text, bool accepted)
    {
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","format":"uri"}""").AcceptsBytes($"\"{text}\""), Is.EqualTo(accepted));
        Assert.That(!accepted || ConstraintReader.OfSchema("""{"type":"string","format":"uri-reference"}""").AcceptsBytes($"\"{text}\""), Is.True, "as a reference");
    }

    /// <summary>2,083 is what some generators write for every address.</summary>
    [TestCase("uri", 2083)]
    [TestCase("uri-reference", 1000)]
    public void Addresses_may_be_as_long_as_their_length_says(string format, int maxLength)
    {
        ConstraintReader reader = ConstraintReader.OfSchema($$"""{"type":"string","format":"{{format}}","minLength":12,"maxLength":{{maxLength}}}""");
        string longest = "https://example.com/%20?".PadRight(maxLength, 'x');
        Assert.That(reader.AcceptsBytes($"\"{longest}\""), Is.True);
        Assert.That(reader.AcceptsBytes($"\"{longest}x\""), Is.False);
        Assert.That(reader.AcceptsBytes("\"http://a.de/\""), Is.True);
        Assert.That(reader.AcceptsBytes("\"http://a.de\""), Is.False);
        Assert.That(reader.AcceptsBytes("\"http://a.de/ä\""), Is.False);
    }

    [TestCase(61, true)]
    [TestCase(62, false)]
    public void Names_of_hosts_have_253_characters_at_most(int last, bool accepted)
    {
        string label = new('a', 63);
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","format":"hostname"}""").AcceptsBytes($"\"{label}.{label}.{label}.{new string('b', last)}\""), Is.EqualTo(accepted));
    }

    [TestCase("", true)]
    [TestCase("/", true)]
    [TestCase("?a=%20", true)]
    [TestCase("#x", true)]
    [TestCase("a%20b/c:d", true)]
    [TestCase("/a:b", true)]
    [TestCase("//user@a.b:8443/c", true)]
    [TestCase("1a:b", false)]
    [TestCase("a%2", false)]
    [TestCase("//", false)]
    public void References_to_addresses_may_leave_out_what_comes_first(string text, bool accepted) =>
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","format":"uri-reference"}""").AcceptsBytes($"\"{text}\""), Is.EqualTo(accepted));

    [Test]
    public void Random_addresses_end_and_are_well_formed()
    {
        ConstraintReader reader = ConstraintReader.OfSchema("""{"type":"string","format":"uri"}""");
        for (int seed = 0; seed < 60; seed++)
        {
            using JsonDocument document = JsonDocument.Parse(reader.Sample(new Random(seed)));
            Assert.That(document.RootElement.GetString(), Does.Match(@"^[A-Za-z][A-Za-z0-9+.-]+:([A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$"));
        }
    }
}
