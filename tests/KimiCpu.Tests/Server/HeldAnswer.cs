// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Server;

/// <summary>An answer on its way while its model stands still: the server stays as busy as it is, however long a test takes.</summary>
internal sealed class HeldAnswer(HttpResponseMessage response, HeldEngine engine) : IDisposable
{
    public Task HoldAsync() => engine.HoldAsync();

    /// <summary>The client goes away, and the model goes on.</summary>
    public void Dispose()
    {
        response.Dispose();
        engine.Dispose();
    }
}
