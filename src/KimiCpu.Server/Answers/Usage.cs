// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Answers;

/// <summary>What all answers to a request cost together; answers to one prompt share it.</summary>
/// <param name="PromptTokens">Of all prompts.</param>
/// <param name="CachedTokens">Of these, not computed by any answer.</param>
/// <param name="CompletionTokens">Of all answers.</param>
/// <param name="ReasoningTokens">Of these, reasoning.</param>
internal sealed record Usage(int PromptTokens, int CachedTokens, int CompletionTokens, int ReasoningTokens)
{
    public static Usage Of(AnswerRequest request, IReadOnlyList<GenerationResult> results)
    {
        static int LeastCached(GenerationUsage[] answers) => answers.Min(u => u.CachedTokens);
        IEnumerable<GenerationUsage[]> prompts = results.Select(r => r.Usage).Chunk(request.Choices);
        return new Usage(
            prompts.Sum((GenerationUsage[] p) => p[0].PromptTokens),
            prompts.Sum(LeastCached),
            results.Sum(r => r.Usage.CompletionTokens),
            results.Sum(r => r.Usage.ReasoningTokens));
    }

    public Usage Logged(ServerCall call)
    {
        ServerLog.Used(call.Logger, call.Id, PromptTokens, CachedTokens, CompletionTokens);
        return this;
    }
}
