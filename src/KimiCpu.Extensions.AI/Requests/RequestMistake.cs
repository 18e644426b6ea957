// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Mistakes of who asks, as the library marks them; for servers, which see no more of its inside than this assembly has.</summary>
internal static class RequestMistake
{
    /// <inheritdoc cref="CallersMistake.Is"/>
    public static bool Is(Exception exception) => CallersMistake.Is(exception);
}
