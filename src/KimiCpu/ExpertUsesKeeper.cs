// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Generation;

namespace KimiCpu;

/// <summary>
/// Leaves behind now and then what is known about the uses of a model's experts: a process that is killed, as servers are, leaves nothing at its end. The counts are
/// copied between two steps; no step waits for the file.
/// </summary>
internal sealed class ExpertUsesKeeper : IDisposable
{
    /// <summary>What is lost is a part of what the next start knows, so nothing is gained by more.</summary>
    private static readonly TimeSpan s_every = TimeSpan.FromMinutes(10);

    private readonly ExpertUses _uses;
    private readonly GenerationEngine _engine;
    private readonly ITimer _timer;

    /// <param name="uses">Of the model.</param>
    /// <param name="engine">Whose thread uses the experts.</param>
    /// <param name="time">What tells when it is time.</param>
    public ExpertUsesKeeper(ExpertUses uses, GenerationEngine engine, TimeProvider time)
    {
        _uses = uses;
        _engine = engine;
        _timer = time.CreateTimer(static keeper => _ = ((ExpertUsesKeeper)keeper!).SaveAsync(), this, s_every, s_every);
    }

    public void Dispose() => _timer.Dispose();

    private async Task SaveAsync()
    {
        try
        {
            if (await _engine.UseCache(_ => _uses.TakeChanges()).ConfigureAwait(false) is { } taken)
            {
                _uses.Save(taken);
            }
        }
        catch (ObjectDisposedException)
        {
            // The model is: it leaves behind what there is.
        }
    }
}
