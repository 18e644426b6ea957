// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>The control tokens that divide an answer into reasoning, content and calls; -1 where the tokenizer has none.</summary>
/// <param name="Think">Opens the reasoning.</param>
/// <param name="EndThink">Ends the reasoning.</param>
/// <param name="SectionBegin">Begins the calls.</param>
/// <param name="SectionEnd">Ends the calls.</param>
/// <param name="CallBegin">Begins a call with its id.</param>
/// <param name="ArgumentBegin">Between the id of a call and its arguments.</param>
/// <param name="CallEnd">Ends a call.</param>
internal sealed record AnswerMarkers(int Think, int EndThink, int SectionBegin, int SectionEnd, int CallBegin, int ArgumentBegin, int CallEnd)
{
    public AnswerMarkers(KimiTokenizer tokenizer)
        : this(
            Id(tokenizer, "<think>"),
            Id(tokenizer, "</think>"),
            Id(tokenizer, "<|tool_calls_section_begin|>"),
            Id(tokenizer, "<|tool_calls_section_end|>"),
            Id(tokenizer, "<|tool_call_begin|>"),
            Id(tokenizer, "<|tool_call_argument_begin|>"),
            Id(tokenizer, "<|tool_call_end|>"))
    {
    }

    /// <summary>Divides nothing: all is content.</summary>
    public static AnswerMarkers None { get; } = new(-1, -1, -1, -1, -1, -1, -1);

    public bool HasCalls => Math.Min(Math.Min(SectionBegin, SectionEnd), Math.Min(CallBegin, Math.Min(ArgumentBegin, CallEnd))) >= 0;

    private static int Id(KimiTokenizer tokenizer, string name) => tokenizer.TryGetSpecialToken(name, out int id) ? id : -1;
}
