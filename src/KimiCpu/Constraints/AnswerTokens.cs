// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>The control tokens that divide an answer.</summary>
/// <param name="End">Ids that end it; at least one where anything is to be obeyed.</param>
/// <param name="Think">Opens the reasoning; -1 for none.</param>
/// <param name="EndThink">Ends the reasoning; -1 for none.</param>
/// <param name="StartsThinking">Whether the prompt has opened the reasoning.</param>
/// <param name="MayThink">Whether the answer may open the reasoning itself.</param>
/// <param name="GoesOn">Whether the answer goes on behind an end, with what the model pleases.</param>
internal sealed record AnswerTokens(IReadOnlySet<int> End, int Think, int EndThink, bool StartsThinking, bool MayThink, bool GoesOn = false);
