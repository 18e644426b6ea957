// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Cli.Bench;

/// <summary>Gives a synthetic checkpoint a tokenizer of its vocabulary's size, so that whole calls run on it: single bytes, then pairs, then threes.</summary>
internal static class SyntheticTokenizer
{
    private const int Special = 256;

    /// <summary>Writes the files that are not there yet.</summary>
    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="vocabulary">Its size, control tokens included.</param>
    public static void Prepare(string folder, int vocabulary)
    {
        string ranks = Path.Combine(folder, "tiktoken.model");
        if (File.Exists(ranks))
        {
            return;
        }

        var text = new StringBuilder();
        for (int rank = 0; rank < Math.Max(vocabulary - Special, 256); rank++)
        {
            text.Append(Convert.ToBase64String(Bytes(rank))).Append(' ').Append(rank).Append('\n');
        }

        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), "{\"added_tokens_decoder\":{}}");
        File.WriteAllText(ranks, text.ToString());
    }

    private static byte[] Bytes(int rank)
    {
        int pair = rank - 256;
        int three = pair - 65536;
        return pair < 0 ? [(byte)rank] : three < 0 ? [(byte)(pair >> 8), (byte)pair] : [(byte)(three >> 16), (byte)(three >> 8), (byte)three];
    }
}
