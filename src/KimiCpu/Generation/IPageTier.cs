// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>A slower place for pages of the cache, which keeps them when that has given them up. All of it is called by the engine's thread, or before there is one.</summary>
internal interface IPageTier
{
    /// <summary>Begins with a cache, which takes the place of the one before.</summary>
    /// <param name="engine">Whose thread owns it.</param>
    /// <param name="runner">Has it.</param>
    void Attach(GenerationEngine engine, ModelRunner runner);

    /// <summary>Begins to read what follows in a call's text on what the cache had of it. The call computes nothing until that is over.</summary>
    /// <param name="call">Has the pages for all of its text.</param>
    /// <returns>Null where there is nothing to be read.</returns>
    IPageReading? Begin(ScheduledCall call);

    /// <summary>Keeps what is not kept yet, within a bounded time, once no call runs any more.</summary>
    /// <param name="cache">The last one that was attached.</param>
    void Finish(KvCache cache);
}

/// <summary>Pages of a call that are being read.</summary>
internal interface IPageReading
{
    /// <summary>Once it is, it stays so: what comes later is not taken. Asked by the engine's thread.</summary>
    bool IsOver { get; }
}
