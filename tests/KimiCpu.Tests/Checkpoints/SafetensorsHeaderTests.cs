// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

[TestFixture]
internal sealed class SafetensorsHeaderTests
{
    private const string Good = """{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},"c":{"dtype":"I64","shape":[0,5],"data_offsets":[26,26]}}   """;

    [Test]
    public void Entries_have_absolute_offsets()
    {
        List<TensorEntry> entries = Parse(Good, 26);
        Assert.That(entries.Select(e => (e.Name, e.Type, e.Offset, e.Length)), Is.EqualTo(new[]
        {
            ("a", ElementType.Float32, 8L + Good.Length, 24L),
            ("b", ElementType.BFloat16, 8L + Good.Length + 24, 2L),
            ("c", ElementType.Int64, 8L + Good.Length + 26, 0L),
        }));
        Assert.That(entries[0].Shape, Is.EqualTo(new long[] { 2, 3 }));
    }

    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "overlaps")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}""", 20, "hole")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "hole")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7, "bytes follow the header")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "incomplete or damaged")]
    [TestCase("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "more bytes than the file")]
    [TestCase("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}""", 8, "Expected 4 bytes")]
    [TestCase("""{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}""", 8, "more bytes than the file")]
    [TestCase("""{"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]}}""", 0, "more bytes than the file")]
    [TestCase("""{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}}""", 8, "whole numbers")]
    [TestCase("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "whole numbers")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "whole numbers")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "data_offsets")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "two data_offsets")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}""", 8, "at most 2")]
    [TestCase("""{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}""", 8, "'F33'")]
    [TestCase("""{"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}}""", 8, "dtype")]
    [TestCase("""{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8, "Expected dtype")]
    [TestCase("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "two dtypes")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""", 16, "twice")]
    [TestCase("""{"a":[]}""", 8, "JSON object")]
    [TestCase("""[]""", 0, "JSON object")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x""", 8, "not valid JSON")]
    [TestCase("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}""", 8, "not valid JSON")]
    [TestCase("", 0, "not valid JSON")]
    [TestCase("""{"__metadata__":1}""", 0, "JSON object")]
    public void Wrong_headers_are_refused_with_the_reason(string json, int dataBytes, string expected)
    {
        CheckpointException error = Assert.Throws<CheckpointException>(() => Parse(json, dataBytes))!;
        Assert.That(error.Message, Does.Contain(expected).And.Contain("shard.safetensors"));
    }

    [Test]
    public void Lengths_that_lie_are_refused()
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            foreach (byte[] content in new byte[][] { [], [1, 2, 3], [9, 0, 0, 0, 0, 0, 0, 0, (byte)'{'], [255, 255, 255, 255, 255, 255, 255, 255], [0, 0, 0, 0, 0, 0, 0, 128] })
            {
                File.WriteAllBytes(Path.Combine(folder, "x.safetensors"), content);
                Assert.That(() => SafetensorsHeader.Read(new FolderCheckpointFiles(folder), "x.safetensors", 0), Throws.TypeOf<CheckpointException>());
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Nothing but CheckpointException, no hang, no allocation out of proportion, and what is accepted is sound.</summary>
    [Test]
    [CancelAfter(120_000)]
    public Task Mutated_headers_never_surprise(CancellationToken cancellationToken) => Task.Run(ParseMutated, cancellationToken).WaitAsync(cancellationToken);

    private static void ParseMutated()
    {
        const int Rounds = 120_000;
        var random = new Random(20261123);
        byte[][] seeds =
        [
            Encoding.UTF8.GetBytes(Good),
            Encoding.UTF8.GetBytes("""{"model.layers.0.mlp.gate.weight":{"dtype":"BF16","shape":[16,4],"data_offsets":[0,128]},"x":{"dtype":"U8","shape":[7],"data_offsets":[128,135]}}"""),
            .. new[] { "tiny-int4", "tiny-fp8" }.Select(RealHeader),
        ];
        int accepted = 0;
        for (int round = 0; round < Rounds; round++)
        {
            byte[] header = Mutation.Apply(seeds[random.Next(round % 40 == 0 ? seeds.Length : 2)], random);
            long fileLength = random.Next(4) switch { 0 => 8 + header.Length + 26, 1 => 8 + header.Length + 135, 2 => long.MaxValue / 2, _ => random.Next(0, 4096) };
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                List<TensorEntry> entries = SafetensorsHeader.Parse(header, "fuzz", fileLength, 0);
                Assert.That(entries.All(e => e.Offset >= 8 + header.Length && e.Length >= 0 && e.Offset + e.Length <= fileLength));
                accepted++;
            }
            catch (CheckpointException)
            {
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.That(allocated, Is.LessThan(100_000 + (200L * header.Length)), () => Encoding.UTF8.GetString(header));
        }

        TestContext.Out.WriteLine($"{accepted} of {Rounds} accepted");
        Assert.That(accepted, Is.GreaterThan(100).And.LessThan(Rounds / 2), "mutations must be neither always fatal nor harmless");
    }

    private static byte[] RealHeader(string checkpoint)
    {
        string shard = Directory.GetFiles(Repository.Checkpoint(checkpoint), "*.safetensors").Order(StringComparer.Ordinal).First();
        using FileStream file = File.OpenRead(shard);
        var length = new byte[8];
        file.ReadExactly(length);
        var header = new byte[BitConverter.ToInt64(length)];
        file.ReadExactly(header);
        return header;
    }

    private static List<TensorEntry> Parse(string json, int dataBytes)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(json);
        return SafetensorsHeader.Parse(bytes, "shard.safetensors", 8 + bytes.Length + dataBytes, 0);
    }
}
