// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;
using KimiCpu.Cuda.Weights;
using KimiCpu.Devices;
using KimiCpu.Generation;
using KimiCpu.Sessions;

namespace KimiCpu.Tests.Sessions;

/// <summary>
/// What other builds have written. A reader and a writer that change together go on understanding each other, while files of users are refused as those of
/// another model, or computed again for hours.
/// </summary>
[TestFixture]
internal sealed class SessionFormatTests
{
    private const int Tokens = 66;
    private const int TokenBytes = 4 * (64 + 16) * 2;
    private const int PageHashes = 2 * SessionFormat.HashBytes;

    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 1, IgnoreEndOfText = true };

    private string _folder = "";

    /// <summary>Written by the first build that had this test, from the same model and text.</summary>
    private static string Version1 => Repository.Fixture("sessions", "tiny-int4.v1.kimi");

    private static int[] Text => [.. Enumerable.Range(1, Tokens)];

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_file_of_version_1_is_loaded_with_its_cache()
    {
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        using KimiSession session = model.LoadSession(Version1);
        Assert.That(session.TokenCount, Is.EqualTo(Tokens));
        Assert.That(session.ApplicationData.ToArray(), Is.EqualTo("my notes"u8.ToArray()));
        GenerationResult result = session.Generate((int[])[.. Text, 1, 2, 3], s_options);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(Tokens));
    }

    /// <summary>
    /// But for last bits of the cached values, which may differ from CPU to CPU, and by which a router may choose another expert for a token: the layers behind it
    /// are compared by most of their tokens.
    /// </summary>
    [Test]
    public void A_file_of_version_1_is_what_is_written_today()
    {
        string path = Path.Combine(_folder, "session.kimi");
        using (KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4")))
        {
            Save(model, path);
        }

        (byte[] expected, byte[] written) = (File.ReadAllBytes(Version1), File.ReadAllBytes(path));
        Assert.That(written, Has.Length.EqualTo(expected.Length));
        int pages = expected.Length - (Tokens * TokenBytes) - PageHashes;
        Assert.That(written[..pages], Is.EqualTo(expected[..pages]), "the opening, the header, the tokens and the application's bytes");
        var behind = new List<double>();
        foreach ((int begin, int tokens) in new[] { (pages, 64), (pages + (64 * TokenBytes) + SessionFormat.HashBytes, Tokens - 64) })
        {
            (float[][] then, float[][] now) = (Rows(expected, begin, tokens), Rows(written, begin, tokens));
            double[] cosines = [.. then.Zip(now, Cosine)];
            Assert.That(cosines[..tokens], Is.All.GreaterThan(0.99), $"first layer of the page of {tokens}");
            behind.AddRange(cosines[tokens..]);
        }

        behind.Sort();
        Assert.That(behind, Has.Count.EqualTo(3 * Tokens));
        Assert.That(behind[behind.Count / 2], Is.GreaterThan(0.99));
    }

    [Test]
    public void The_identity_of_a_model_stays_what_it_is()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        Assert.That(ModelIdentity.Of(checkpoint), Is.EqualTo(new UInt128(0xdc6e7557f9275774, 0xb3607a2df19a1e55)));
    }

    /// <summary>Another text is other arithmetic.</summary>
    [Test]
    public void The_words_for_arithmetic_stay_what_they_are()
    {
        string[] words =
        [
            CacheArithmetic.Exact, CacheArithmetic.Fast, CacheArithmetic.FastWithCopies, SessionHeader.LostPages,
            .. WeightPlan.All.Select(weights => CacheArithmetic.OfGpu(weights, smallCache: false)), CacheArithmetic.OfGpu(WeightPlan.All[^1], smallCache: true),
        ];
        Assert.That(words, Is.EqualTo(new[]
        {
            "exact arithmetic",
            "fast arithmetic",
            "fast arithmetic and 8-bit copies",
            "a GPU that was lost",
            "a GPU's arithmetic, all weights as stored",
            "a GPU's arithmetic, head in 8 bits",
            "a GPU's arithmetic, head, dense layers and shared experts in 8 bits",
            "a GPU's arithmetic, all weights in 8 bits",
            "a GPU's arithmetic, all weights in 8 bits, 8-bit cache",
        }));
    }

    private static void Save(KimiModel model, string path)
    {
        using KimiSession session = model.CreateSession();
        session.Generate(Text.AsMemory(), s_options);
        session.ApplicationData = "my notes"u8.ToArray();
        session.Save(path);
    }

    /// <summary>Layer by layer those of all tokens, BF16 as floats.</summary>
    private static float[][] Rows(byte[] file, int begin, int tokens) =>
        [.. MemoryMarshal.Cast<byte, ushort>(file.AsSpan(begin, tokens * TokenBytes)).ToArray().Select(bits => BitConverter.Int32BitsToSingle(bits << 16)).Chunk(64 + 16)];

    private static double Cosine(float[] a, float[] b) =>
        a.Zip(b).Sum(p => (double)p.First * p.Second) / Math.Sqrt(a.Sum(v => (double)v * v) * b.Sum(v => (double)v * v));
}
