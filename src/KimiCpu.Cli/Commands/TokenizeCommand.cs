// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using System.Text;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tokens;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi tokenize</c>.</summary>
internal static class TokenizeCommand
{
    private const int BlockLength = 1 << 14;

    public static Command Make(CliStreams streams)
    {
        var model = new Option<string?>("--model", "-m") { Description = "Folder with tiktoken.model and tokenizer_config.json. Default: kimi-nano, embedded.", HelpName = "DIR" };
        ModelNames.Refuse(model);
        var ids = new Option<bool>("--ids") { Description = "One line of ids separated by blanks, instead of a table." };
        var allowSpecial = new Option<bool>("--allow-special") { Description = "Read names of control tokens as those tokens." };
        var command = new Command("tokenize", "Shows the tokens of standard input, read as it is.") { model, ids, allowSpecial };
        command.SetLongAction(async (parsed, cancellationToken) =>
        {
            KimiTokenizer tokenizer = parsed.GetValue(model) is { } folder ? KimiTokenizer.Open(folder) : KimiTokenizer.Open(KimiModel.EmbeddedFiles);
            int[] tokens = tokenizer.Encode(await streams.ReadBytesAsync(cancellationToken), parsed.GetValue(allowSpecial), cancellationToken);
            Write(streams.Output, parsed.GetValue(ids) ? Ids(tokens) : Rows(tokenizer, tokens), cancellationToken);
            return KimiCommand.Ok;
        });
        return command;
    }

    private static IEnumerable<string> Ids(int[] tokens) =>
        tokens.Select((t, i) => string.Create(CultureInfo.InvariantCulture, $"{(i > 0 ? " " : "")}{t}")).Append("\n");

    private static IEnumerable<string> Rows(KimiTokenizer tokenizer, int[] tokens)
    {
        int width = (tokenizer.VocabularySize - 1).ToString(CultureInfo.InvariantCulture).Length;
        return tokens.Select(t => t.ToString(CultureInfo.InvariantCulture).PadLeft(width) + " " + Piece(tokenizer, t) + Environment.NewLine).Prepend("id".PadLeft(width) + " piece" + Environment.NewLine);
    }

    /// <summary>A text may be longer than memory holds the pieces of, and each write is one to the system.</summary>
    private static void Write(TextWriter output, IEnumerable<string> pieces, CancellationToken cancellationToken)
    {
        var block = new StringBuilder();
        foreach (string piece in pieces)
        {
            if (block.Append(piece).Length >= BlockLength)
            {
                cancellationToken.ThrowIfCancellationRequested();
                output.Write(block.ToString());
                block.Clear();
            }
        }

        output.Write(block.ToString());
    }

    /// <summary>A token's text in quotes; what cannot be seen is escaped, bytes that are no character as \xNN.</summary>
    private static string Piece(KimiTokenizer tokenizer, int token)
    {
        var text = new StringBuilder("\"");
        ReadOnlySpan<byte> bytes = tokenizer.GetBytes(token);
        while (!bytes.IsEmpty)
        {
            bool valid = Rune.DecodeFromUtf8(bytes, out Rune rune, out int used) == System.Buffers.OperationStatus.Done;
            text.Append((valid, rune.Value) switch
            {
                (false, _) => $"\\x{bytes[0]:X2}",
                (_, '\n') => "\\n",
                (_, '\r') => "\\r",
                (_, '\t') => "\\t",
                (_, '"') => "\\\"",
                (_, '\\') => "\\\\",
                _ => Rune.IsControl(rune) || (Rune.IsWhiteSpace(rune) && rune.Value != ' ') ? $"\\u{rune.Value:X4}" : rune.ToString(),
            });
            bytes = bytes[(valid ? used : 1)..];
        }

        return text.Append('"').ToString();
    }
}
