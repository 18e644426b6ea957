// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Generation;

/// <summary>What callers must not pass is refused at once, under the parameter's own name and with the place in it.</summary>
[TestFixture]
internal sealed class CallArgumentTests
{
    private static readonly KimiMessage s_hello = KimiMessage.User("Hello");

    private KimiModel _model = null!;

    [OneTimeSetUp]
    public void Open() => _model = KimiModel.OpenEmbedded();

    [OneTimeTearDown]
    public void Close() => _model.Dispose();

    private static IEnumerable<TestCaseData> WrongMessages()
    {
        yield return Wrong([], "at least one message");
        yield return Wrong([s_hello, null!], "messages[1] is null");
        yield return Wrong([new KimiMessage(KimiRole.User, null!)], "messages[0].Content is null");
        yield return Wrong([s_hello, KimiMessage.Assistant("a") with { ToolCalls = [null!] }], "messages[1].ToolCalls[0] is null");
        yield return Wrong([s_hello, KimiMessage.Assistant("a") with { ToolCalls = [new(null!, "f", "{}")] }], "messages[1].ToolCalls[0].Id is null");
        yield return Wrong([s_hello, KimiMessage.Assistant("a") with { ToolCalls = [new("", null!, "{}")] }], "messages[1].ToolCalls[0].Name is null");
        yield return Wrong([s_hello, KimiMessage.Assistant("a") with { ToolCalls = [new("", "f", null!)] }], "messages[1].ToolCalls[0].Arguments is null");
        yield return Wrong([s_hello with { Role = (KimiRole)9 }], "messages[0].Role is 9");
        yield return Wrong([s_hello with { ToolCalls = [new("", "f", "{}")] }], "Only the assistant calls tools");
        yield return Wrong([s_hello, KimiMessage.Tool("", "r")], "names no call");

        static TestCaseData Wrong(KimiMessage[] messages, string problem) => new TestCaseData(messages, problem).SetArgDisplayNames(problem);
    }

    [TestCaseSource(nameof(WrongMessages))]
    public void Messages_are_checked_with_their_places(KimiMessage[] messages, string problem)
    {
        using KimiSession session = _model.CreateSession();
        Expect("messages", problem, () => _model.Generate(messages));
        Expect("messages", problem, () => _model.GenerateAsync(messages));
        Expect("messages", problem, () => _model.EncodePrompt(messages));
        Expect("messages", problem, () => session.Generate(messages));
        Expect("messages", problem, () => session.GenerateAsync(messages));
    }

    private static IEnumerable<TestCaseData> WrongOptions()
    {
        yield return Wrong(new() { StopSequences = null! }, "StopSequences", "a list, empty for none; found null");
        yield return Wrong(new() { StopSequences = [null!] }, "StopSequences", "found null");
        yield return Wrong(new() { StopTokens = null! }, "StopTokens", "a list, empty for none; found null");
        yield return Wrong(new() { Tools = null! }, "Tools", "a list, empty for none; found null");
        yield return Wrong(new() { Tools = [null!] }, "Tools", "found null");
        yield return Wrong(new() { ToolChoice = null! }, "ToolChoice", "found null");
        yield return Wrong(new() { Tools = [new KimiTool("f"), new KimiTool("f")] }, "options", "Two tools");
        yield return Wrong(new() { ToolChoice = ToolChoice.Required }, "options", "no tool is declared");
        yield return Wrong(new() { ToolChoice = ToolChoice.Named("f") }, "options", "'f' is demanded");

        static TestCaseData Wrong(GenerationOptions options, string parameter, string problem) => new TestCaseData(options, parameter, problem).SetArgDisplayNames(parameter, problem);
    }

    [TestCaseSource(nameof(WrongOptions))]
    public void Options_are_checked_by_name(GenerationOptions options, string parameter, string problem)
    {
        Expect(parameter, problem, () => _model.Generate("Hello", options));
        Expect(parameter, problem, () => _model.GenerateAsync([s_hello], options));
    }

    private static IEnumerable<GenerationOptions> NullOptions() =>
        [new() { StopSequences = null! }, new() { StopTokens = null! }, new() { Tools = null! }, new() { ToolChoice = null! }];

    [TestCaseSource(nameof(NullOptions))]
    public void An_option_that_is_null_is_told_as_null(GenerationOptions options) => Assert.That(() => _model.Generate("Hello", options), Throws.ArgumentNullException);

    [Test]
    public void Null_is_refused_under_the_name_of_its_parameter()
    {
        using KimiSession session = _model.CreateSession();
        var closed = new MemoryStream();
        closed.Dispose();
        Expect("prompt", "", () => _model.Generate((string)null!));
        Expect("prompt", "", () => _model.GenerateAsync((string)null!));
        Expect("messages", "", () => _model.Generate((IEnumerable<KimiMessage>)null!));
        Expect("messages", "", () => _model.GenerateAsync((IEnumerable<KimiMessage>)null!));
        Expect("messages", "", () => _model.EncodePrompt(null!));
        Expect("messages", "", () => session.Generate((IEnumerable<KimiMessage>)null!));
        Expect("tokens", "at least one token", () => _model.Generate(default(ReadOnlyMemory<int>)));
        Expect("path", "", () => _model.LoadSession((string)null!));
        Expect("path", "", () => _model.LoadSessionAsync((string)null!));
        Expect("path", "", () => session.SaveAsync((string)null!));
        Expect("stream", "", () => _model.LoadSession((Stream)null!));
        Expect("stream", "can be read", () => _model.LoadSessionAsync(closed));
        Expect("stream", "", () => session.SaveAsync((Stream)null!));
        Expect("stream", "can be written to", () => session.SaveAsync(closed));
        Expect("path", "", () => KimiModel.Open(null!));
        Expect("path", "", () => KimiModel.OpenAsync(null!));
        Expect("Scheduling", "found null", () => KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = null! }));
        Expect("folder", "", () => KimiTokenizer.Open((string)null!));
        Expect("text", "", () => _model.Tokenizer.Encode((string)null!));
        Expect("name", "", () => _model.Tokenizer.TryGetSpecialToken(null!, out _));
        Expect("text", "", () => KimiDevice.Parse(null!));
        Expect("name", "", () => new KimiTool(null!));
        Expect("parameters", "", () => new KimiTool("f", null, (string)null!));
        Expect("parameters", "Undefined", () => new KimiTool("f", null, default(JsonElement)));
        Expect("name", "", () => ToolChoice.Named(null!));
        Expect("schema", "", () => KimiConstraint.JsonSchema(null!));
        Expect("schema", "", () => KimiConstraint.JsonSchema(default(JsonElement)));
        Expect("pattern", "", () => KimiConstraint.Regex(null!));
        Expect("choices", "", () => KimiConstraint.Choice(null!));
        Expect("choices", "", () => KimiConstraint.Choice([null!]));
    }

    private static void Expect(string parameter, string problem, Func<object?> call) =>
        Assert.That(call, Throws.InstanceOf<ArgumentException>().With.Property(nameof(ArgumentException.ParamName)).EqualTo(parameter).And.Message.Contains(problem));
}
