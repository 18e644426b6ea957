// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace KimiCpu.Cli.Bench;

/// <summary>Sizes of a synthetic model, in the words of <c>--shape</c>.</summary>
internal sealed class BenchShape
{
    /// <summary>Tokens that the model has positions for, whatever its sizes.</summary>
    public const int Context = 131072;

    private static readonly Dictionary<string, int> s_k2Mini = new()
    {
        ["hidden"] = 2048,
        ["layers"] = 8,
        ["dense"] = 1,
        ["intermediate"] = 6144,
        ["experts"] = 64,
        ["topk"] = 8,
        ["moe"] = 1024,
        ["shared"] = 1,
        ["heads"] = 16,
        ["qlora"] = 768,
        ["kvlora"] = 512,
        ["nope"] = 128,
        ["rope"] = 64,
        ["v"] = 128,
        ["vocab"] = 32768,
    };

    private static readonly Dictionary<string, int> s_nano = new(s_k2Mini)
    {
        ["hidden"] = 256,
        ["layers"] = 6,
        ["intermediate"] = 768,
        ["experts"] = 24,
        ["topk"] = 4,
        ["moe"] = 128,
        ["heads"] = 8,
        ["qlora"] = 128,
        ["kvlora"] = 64,
        ["nope"] = 32,
        ["rope"] = 16,
        ["v"] = 32,
        ["vocab"] = 2304,
    };

    /// <summary>Experts as large as those of Kimi K2, few of them and little beside them: for checkpoints larger than memory.</summary>
    private static readonly Dictionary<string, int> s_k2Experts = new(s_k2Mini)
    {
        ["hidden"] = 7168,
        ["layers"] = 13,
        ["intermediate"] = 4096,
        ["experts"] = 32,
        ["moe"] = 2048,
        ["qlora"] = 512,
        ["vocab"] = 4096,
    };

    private readonly Dictionary<string, int> _sizes;

    private BenchShape(string name, Dictionary<string, int> sizes)
    {
        Name = name;
        _sizes = sizes;
    }

    /// <summary>As given.</summary>
    public string Name { get; }

    public static string Keys => string.Join(", ", s_k2Mini.Keys);

    public int this[string key] => _sizes[key];

    /// <summary>Short and different for every shape.</summary>
    public string Hash => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join(',', _sizes.Select(p => $"{p.Key}={p.Value}")))))[..12];

    /// <exception cref="FormatException">The text is no shape.</exception>
    public static BenchShape Parse(string text)
    {
        string[] parts = text.Split(',');
        Dictionary<string, int> sizes = new(parts[0] switch { "nano" => s_nano, "k2-experts" => s_k2Experts, _ => s_k2Mini });
        foreach (string part in parts[0] is "nano" or "k2-mini" or "k2-experts" ? parts[1..] : parts)
        {
            string[] pair = part.Split('=');
            bool valid = pair.Length == 2 & int.TryParse(pair[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value is > 0 and < 1 << 20;
            if (!valid || !sizes.ContainsKey(pair[0]))
            {
                throw new FormatException($"--shape takes k2-mini, k2-experts, nano, or sizes such as hidden=2048,layers=8 (of {Keys}); found '{part}'.");
            }

            sizes[pair[0]] = value;
        }

        return sizes["topk"] <= sizes["experts"]
            ? new BenchShape(text, sizes)
            : throw new FormatException($"--shape: topk is how many of the experts a token takes, at most {sizes["experts"]} here; found {sizes["topk"]}.");
    }
}
