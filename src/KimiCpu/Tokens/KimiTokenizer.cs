// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tokens;

/// <summary>
/// Kimi's tokenizer: byte-level byte-pair encoding over <c>tiktoken.model</c>, with the control tokens of
/// <c>tokenizer_config.json</c>. Immutable and safe to use from several threads.
/// </summary>
public sealed class KimiTokenizer
{
    internal const string RanksFile = "tiktoken.model";
    internal const string ConfigFile = "tokenizer_config.json";

    private readonly Vocabulary _vocabulary;
    private readonly SpecialTokens _special;

    private KimiTokenizer(Vocabulary vocabulary, SpecialTokens special)
    {
        _vocabulary = vocabulary;
        _special = special;
    }

    /// <summary>Ids run from 0 to this, exclusive: the ranks, then 256 control tokens.</summary>
    public int VocabularySize => _vocabulary.Count + SpecialTokens.Count;

    /// <summary>Ids of the control tokens by name.</summary>
    public IReadOnlyDictionary<string, int> SpecialTokenIds => _special.Ids;

    /// <summary>Reads the tokenizer of a checkpoint folder; its weights need not be there.</summary>
    /// <param name="folder">Holds <c>tiktoken.model</c> and <c>tokenizer_config.json</c>.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged.</exception>
    public static KimiTokenizer Open(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        return Open(new FolderCheckpointFiles(folder));
    }

    /// <summary>Encodes text.</summary>
    /// <param name="text">Any text; unpaired surrogates become U+FFFD.</param>
    /// <param name="allowSpecial">Whether names of control tokens become those tokens. Leave it off for text from users.</param>
    /// <param name="cancellationToken">Looked at before each part of at most 400,000 characters.</param>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public int[] Encode(string text, bool allowSpecial = false, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Encode(Encoding.UTF8.GetBytes(text), allowSpecial, cancellationToken);
    }

    /// <summary>Encodes bytes.</summary>
    /// <param name="utf8">Normally UTF-8; other bytes are kept, so that decoding gives back any input exactly.</param>
    /// <param name="allowSpecial">Whether names of control tokens become those tokens. Leave it off for text from users.</param>
    /// <param name="cancellationToken">Looked at before each part of at most 400,000 characters.</param>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public int[] Encode(ReadOnlySpan<byte> utf8, bool allowSpecial = false, CancellationToken cancellationToken = default)
    {
        var tokens = new List<int>((utf8.Length / 3) + 1);
        Encode(utf8, allowSpecial, tokens, cancellationToken);
        return [.. tokens];
    }

    /// <summary>Encodes bytes behind tokens that are there.</summary>
    /// <param name="utf8">As for <see cref="Encode(ReadOnlySpan{byte}, bool, CancellationToken)"/>.</param>
    /// <param name="allowSpecial">As there.</param>
    /// <param name="tokens">Takes the tokens.</param>
    /// <param name="cancellationToken">Looked at before each part of at most 400,000 characters.</param>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    internal void Encode(ReadOnlySpan<byte> utf8, bool allowSpecial, List<int> tokens, CancellationToken cancellationToken)
    {
        var cutter = new TextCutter(utf8);
        while (cutter.MoveNext(out ReadOnlySpan<byte> part))
        {
            cancellationToken.ThrowIfCancellationRequested();
            while (allowSpecial && _special.TryFind(part, out int start, out int length, out int id))
            {
                EncodeOrdinary(part[..start], tokens);
                tokens.Add(id);
                part = part[(start + length)..];
            }

            EncodeOrdinary(part, tokens);
        }
    }

    /// <summary>The text of tokens; bytes that are no UTF-8 become U+FFFD. Control tokens appear by their names.</summary>
    /// <param name="tokens">Each in 0 … <see cref="VocabularySize"/> - 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">An id is outside the vocabulary.</exception>
    public string Decode(ReadOnlySpan<int> tokens) => Encoding.UTF8.GetString(DecodeBytes(tokens));

    /// <summary>The bytes of tokens, one after another.</summary>
    /// <param name="tokens">Each in 0 … <see cref="VocabularySize"/> - 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">An id is outside the vocabulary.</exception>
    public byte[] DecodeBytes(ReadOnlySpan<int> tokens)
    {
        var bytes = new List<byte>(tokens.Length * 4);
        foreach (int token in tokens)
        {
            bytes.AddRange(GetBytes(token));
        }

        return [.. bytes];
    }

    /// <summary>The bytes of one token, possibly not whole characters; a control token's are its name.</summary>
    /// <param name="token">In 0 … <see cref="VocabularySize"/> - 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The id is outside the vocabulary.</exception>
    public ReadOnlySpan<byte> GetBytes(int token)
    {
        if ((uint)token >= (uint)VocabularySize)
        {
            throw new ArgumentOutOfRangeException(nameof(token), token, $"Token ids run from 0 to {VocabularySize - 1}.");
        }

        return token < _vocabulary.Count ? _vocabulary[token] : _special.Bytes(token);
    }

    /// <summary>Whether an id is a control token.</summary>
    /// <param name="token">Any number.</param>
    public bool IsSpecial(int token) => token >= _vocabulary.Count && token < VocabularySize;

    /// <summary>Looks a control token up by its name, such as <c>&lt;|im_end|&gt;</c>.</summary>
    /// <param name="name">The name.</param>
    /// <param name="id">The id; -1 if there is none.</param>
    public bool TryGetSpecialToken(string name, out int id)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (_special.Ids.TryGetValue(name, out id))
        {
            return true;
        }

        id = -1;
        return false;
    }

    internal static KimiTokenizer Open(CheckpointFiles files)
    {
        Vocabulary vocabulary = Vocabulary.Parse(files.ReadAll(RanksFile, 64 << 20), files.PathOf(RanksFile));
        return new KimiTokenizer(vocabulary, files.ReadJson(ConfigFile, config => new SpecialTokens(config, vocabulary.Count, files.PathOf(ConfigFile))));
    }

    /// <summary>Refuses a model that knows fewer ids than this has. It may have more rows than there are tokens.</summary>
    /// <param name="config">Of the checkpoint.</param>
    /// <param name="files">Its files.</param>
    /// <exception cref="CheckpointException">The tokenizer is another model's.</exception>
    internal void RequireFit(KimiConfig config, CheckpointFiles files)
    {
        if (VocabularySize > config.VocabularySize)
        {
            // Both files are whole by now, so they would be no others if they were fetched again.
            const string Remedy = "config.json and the tokenizer do not belong together: give a folder whose files are all of one release of the Kimi K2 family.";
            throw new CheckpointException(files.PathOf(RanksFile), null, $"The tokenizer has {VocabularySize} ids, but config.json says {config.VocabularySize}.", Remedy) { IsIntact = true };
        }
    }

    /// <summary>The pieces that are encoded apart, without regard to control tokens.</summary>
    internal static List<string> Split(string text)
    {
        var pieces = new List<string>();
        var cutter = new TextCutter(Encoding.UTF8.GetBytes(text));
        while (cutter.MoveNext(out ReadOnlySpan<byte> part))
        {
            var splitter = new PieceSplitter(part);
            while (splitter.MoveNext(out ReadOnlySpan<byte> piece))
            {
                pieces.Add(Encoding.UTF8.GetString(piece));
            }
        }

        return pieces;
    }

    private void EncodeOrdinary(ReadOnlySpan<byte> text, List<int> tokens)
    {
        var splitter = new PieceSplitter(text);
        while (splitter.MoveNext(out ReadOnlySpan<byte> piece))
        {
            BytePairEncoder.Encode(_vocabulary, piece, tokens);
        }
    }
}
