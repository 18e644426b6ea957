// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.AI;

namespace KimiCpu.Samples.Agent;

/// <summary>Invokes the functions that the model calls, until it answers.</summary>
public static class FunctionLoop
{
    /// <summary>Kimi K2 Thinking makes hundreds of calls in a row. Behind the last one the model is asked once more without tools, which changes the prompt from its beginning on.</summary>
    private const int MostRounds = 1000;

    /// <summary>
    /// A client whose answers may call functions. What a function says to its failure reaches the model, however many fail in a row: a server that
    /// has ended fails all its calls, and how often the model tries is bounded all the same.
    /// </summary>
    /// <param name="client">Of the model.</param>
    public static IChatClient Around(IChatClient client) => client.AsBuilder()
        .UseFunctionInvocation(configure: invocation =>
        {
            invocation.IncludeDetailedErrors = true;
            invocation.MaximumIterationsPerRequest = MostRounds;
            invocation.MaximumConsecutiveErrorsPerRequest = int.MaxValue;
        })
        .Build();
}
