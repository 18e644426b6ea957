// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Extensions.AI;

/// <summary>Models as chat clients.</summary>
public static class KimiModelExtensions
{
    /// <summary>The model as an <see cref="Microsoft.Extensions.AI.IChatClient"/>.</summary>
    /// <param name="model">Answers the calls.</param>
    /// <param name="ownsModel">Whether disposing of the client disposes of the model too. By default it stays open.</param>
    public static KimiChatClient AsIChatClient(this IKimiModel model, bool ownsModel = false) => new(model, ownsModel);
}
