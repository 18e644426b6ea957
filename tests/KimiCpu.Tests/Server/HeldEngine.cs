// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Server;

/// <summary>Lets an engine stand still between two steps, from when it is told to until this is disposed of.</summary>
internal sealed class HeldEngine(GenerationEngine engine) : IDisposable
{
    private readonly ManualResetEventSlim _free = new();
    private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task<int>? _held;

    public Task HoldAsync()
    {
        _held ??= engine.UseCache(_ =>
        {
            _reached.SetResult();
            _free.Wait();
            return 0;
        });
        return _reached.Task;
    }

    public void Dispose()
    {
        _free.Set();
        _held?.Wait();
        _free.Dispose();
    }
}
