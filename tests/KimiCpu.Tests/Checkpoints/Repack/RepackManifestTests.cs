// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>The journal of a repack that another version began.</summary>
[TestFixture]
internal sealed class RepackManifestTests
{
    /// <summary>As this format was first written. Whoever has to change it gives the format another number, and goes on reading this one.</summary>
    private const string Format1 = """
        {
          "format": 1,
          "complete": true,
          "checksums": "xxh128",
          "source": [
            {
              "name": "config.json",
              "bytes": 2157,
              "written": "2026-01-02T03:04:05.6789012Z"
            },
            {
              "name": "parts/model-00001-of-00001.safetensors",
              "bytes": 5000000000,
              "written": "2025-12-31T23:59:59.0000000Z"
            }
          ],
          "files": [
            {
              "name": "model-00001-of-00002.safetensors",
              "bytes": 4294967296,
              "checksum": "99aa06d3014798d86001c324468d497f",
              "tensors": {
                "model.norm.weight": "0123456789abcdef0123456789abcdef",
                "lm_head.weight": "fedcba9876543210fedcba9876543210"
              }
            },
            {
              "name": "config.json",
              "bytes": 2157,
              "checksum": "00000000000000000000000000000001"
            }
          ]
        }
        """;

    private string _folder = "";

    private string File => Path.Combine(_folder, "kimi-repack.json");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_journal_of_format_1_is_read_and_written_again_as_it_is()
    {
        System.IO.File.WriteAllText(File, Format1);
        RepackManifest manifest = RepackManifest.TryRead(_folder)!;
        Assert.That(manifest.IsComplete);
        Assert.That(manifest.Source, Is.EqualTo(new[]
        {
            new SourceFile("config.json", 2157, new DateTime(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc).AddTicks(6_789_012)),
            new SourceFile("parts/model-00001-of-00001.safetensors", 5_000_000_000, new DateTime(2025, 12, 31, 23, 59, 59, DateTimeKind.Utc)),
        }));
        Assert.That(manifest.Source.Select(f => f.Written.Kind), Is.All.EqualTo(DateTimeKind.Utc));
        Assert.That(manifest.Written.Keys, Is.EqualTo(new[] { "model-00001-of-00002.safetensors", "config.json" }));
        WrittenFile shard = manifest.Written["model-00001-of-00002.safetensors"];
        Assert.That((shard.Name, shard.Bytes, shard.Checksum), Is.EqualTo(("model-00001-of-00002.safetensors", 4_294_967_296, "99aa06d3014798d86001c324468d497f")));
        Assert.That(shard.Tensors, Is.EqualTo(new Dictionary<string, string> { ["model.norm.weight"] = "0123456789abcdef0123456789abcdef", ["lm_head.weight"] = "fedcba9876543210fedcba9876543210" }));
        Assert.That(manifest.Written["config.json"].Tensors, Is.Empty);

        System.IO.File.Delete(File);
        manifest.Save(_folder);
        Assert.That(System.IO.File.ReadAllText(File).ReplaceLineEndings("\n"), Is.EqualTo(Format1));
    }
}
