// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>A request to <c>/v1/responses</c>.</summary>
/// <param name="Answer">What the model is to do.</param>
/// <param name="Fields">As they came, for the response says them again.</param>
/// <param name="Summarizes">Whether reasoning goes out as its own summary, for clients that show nothing else.</param>
internal sealed record ResponseRequest(AnswerRequest Answer, JsonFields Fields, bool Summarizes);
