// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli;

/// <summary>What the file of a chat keeps of its messages.</summary>
[TestFixture]
internal sealed class ChatFileTests
{
    private static readonly CliStreams s_streams = new(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false);

    private string _folder = "";

    private string FilePath => Path.Combine(_folder, "chat.session");

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    /// <summary>The answer is written letter by letter, as encoding its text never gives it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void An_answer_is_found_in_the_cache_whatever_tokens_it_was_written_as(CancellationToken cancellationToken)
    {
        var options = new GenerationOptions { Temperature = 0, Thinking = false, MaxTokens = 12 };
        List<KimiMessage> messages = [KimiMessage.User("Who are you?")];
        int known;
        using (KimiModel model = KimiModel.OpenEmbedded())
        using (KimiSession session = model.CreateSession())
        {
            int letter = model.Tokenizer.Encode("e", cancellationToken: cancellationToken).Single();
            GenerationOptions letters = options with { LogitBias = new Dictionary<int, float> { [letter] = 1000 } };
            GenerationResult answer = session.Generate(messages, letters, cancellationToken);
            Assert.That(answer.Tokens, Is.All.EqualTo(letter));
            Assert.That(model.Tokenizer.Encode(answer.Text, cancellationToken: cancellationToken), Is.Not.EqualTo(answer.Tokens));
            messages.Add(answer.ToMessage());
            known = session.TokenCount;
            ChatFile.Save(FilePath, session, messages, s_streams, cancellationToken);
        }

        using KimiModel next = KimiModel.OpenEmbedded();
        using KimiSession loaded = ChatFile.Open(next, FilePath, s_streams, out IReadOnlyList<KimiMessage>? read);
        Assert.That(read, Is.EqualTo(messages));
        GenerationResult result = loaded.Generate([.. read!, KimiMessage.User("And now?")], options, cancellationToken);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(known));
    }

    [Test]
    public void A_file_of_an_earlier_version_is_read_without_tokens()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        Save(model, """{"messages":[{"role":"User","content":"Hi"},{"role":"Assistant","content":"Hello!"}]}""");
        using KimiSession loaded = ChatFile.Open(model, FilePath, s_streams, out IReadOnlyList<KimiMessage>? read);
        Assert.That(read, Is.EqualTo(new[] { KimiMessage.User("Hi"), KimiMessage.Assistant("Hello!") }));
    }

    [Test]
    [CancelAfter(60_000)]
    public void Reasoning_is_kept(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        KimiMessage[] messages = [KimiMessage.User("Hi"), KimiMessage.Assistant("Hello!", "They greet \u001b <me> 😀.\n"), KimiMessage.User("Bye"), KimiMessage.Assistant("Bye.")];
        using (KimiSession session = model.CreateSession())
        {
            ChatFile.Save(FilePath, session, messages, s_streams, cancellationToken);
        }

        using KimiSession loaded = ChatFile.Open(model, FilePath, s_streams, out IReadOnlyList<KimiMessage>? read);
        Assert.That(read, Is.EqualTo(messages));
    }

    [Test]
    public void A_reasoning_that_is_no_text_is_no_conversation()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        Save(model, """{"messages":[{"role":"Assistant","content":"Hello!","reasoning":7}]}""");
        Assert.That(() => ChatFile.Open(model, FilePath, s_streams, out _), Throws.TypeOf<SessionFileException>().With.Message.Contains("no conversation"));
    }

    [TestCase("7")]
    [TestCase("""["a"]""")]
    [TestCase("[1.5]")]
    [TestCase("[3000000000]")]
    public void Tokens_that_are_none_are_no_conversation(string tokens)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        Save(model, $$"""{"messages":[{"role":"Assistant","content":"Hello!","tokens":{{tokens}}}]}""");
        Assert.That(() => ChatFile.Open(model, FilePath, s_streams, out _), Throws.TypeOf<SessionFileException>().With.Message.Contains("no conversation"));
    }

    private void Save(KimiModel model, string json)
    {
        using KimiSession session = model.CreateSession();
        session.ApplicationData = Encoding.UTF8.GetBytes(json);
        session.Save(FilePath);
    }
}
