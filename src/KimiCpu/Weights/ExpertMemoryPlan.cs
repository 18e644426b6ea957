// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Weights;

/// <summary>What of a model competes for memory, in bytes.</summary>
/// <param name="Experts">All routed experts.</param>
/// <param name="EveryToken">Weights that every token needs.</param>
/// <param name="Cache">Keys and values as far as they are planned for, and activations.</param>
/// <param name="Available">What the process may still take.</param>
/// <param name="Remedies">Options that would reduce these needs, for people.</param>
internal readonly record struct MemoryNeeds(long Experts, long EveryToken, long Cache, long Available, string Remedies)
{
    /// <summary>What nobody uses, promised or not. Pages of mapped files take no promise, so that these may fill it where less than it is available.</summary>
    public long Unused { get; init; } = Available;

    /// <summary>What the system has to promise where the experts are mapped: copies, cache and activations, but no weights that are used in files.</summary>
    public long Promised { get; init; }

    /// <summary>What of the available memory the system will not promise to slots, since it has promised it to weights that are let go.</summary>
    public long PromisedInVain { get; init; }
}

/// <summary>Whether the routed experts are used where the checkpoint is mapped, or read into slots, and into how many bytes of them.</summary>
/// <param name="SlotBytes">For slots; null where all experts fit and stay mapped.</param>
/// <param name="Reason">The numbers behind it, for people.</param>
internal sealed record ExpertMemoryPlan(long? SlotBytes, string Reason)
{
    private const long SmallestReserve = 128L << 20;
    private const long LargestReserve = 8L << 30;

    /// <summary>Left to the system, its own cache and everybody else.</summary>
    public static long ReserveOf(long available) => Math.Clamp(available / 16, SmallestReserve, LargestReserve);

    /// <param name="needs">Of the model, and what there is.</param>
    /// <param name="wanted">Bytes of slots that the user asks for; null for what the machine allows.</param>
    /// <exception cref="KimiException">What every token needs does not fit by itself.</exception>
    public static ExpertMemoryPlan Choose(MemoryNeeds needs, long? wanted)
    {
        string numbers = Numbers(needs.Available);
        if (wanted is { } bytes)
        {
            return new ExpertMemoryPlan(bytes, $"{Gigabytes(bytes)} asked for of {Gigabytes(needs.Experts)} of experts; {numbers}");
        }

        if (needs.Experts <= RoomIn(needs, needs.Unused) && needs.Promised <= needs.Available - ReserveOf(needs.Available))
        {
            return new ExpertMemoryPlan(null, $"all {Gigabytes(needs.Experts)} of experts fit; {Numbers(needs.Unused)}");
        }

        long room = RoomOf(needs);
        if (needs.PromisedInVain > 0)
        {
            numbers += $", {Gigabytes(needs.PromisedInVain)} promised by the system to weights that are read and let go";
        }

        return room > 0
            ? new ExpertMemoryPlan(room, $"{Gigabytes(room)} for {Gigabytes(needs.Experts)} of experts; {numbers}")
            : throw new KimiException($"The model does not fit: {numbers}, so nothing is left for experts. {needs.Remedies} helps, or KimiModelOptions.ExpertMemory, which takes its bytes without asking.");

        string Numbers(long memory) => $"{Gigabytes(memory)} of memory available, of which {Gigabytes(needs.EveryToken)} for what every token needs, {Gigabytes(needs.Cache)} for cache and activations, {Gigabytes(ReserveOf(memory))} left to the system";
    }

    /// <summary>Bytes that are left for slots, whatever was asked for; 0 or less where nothing is.</summary>
    public static long RoomOf(MemoryNeeds needs) => RoomIn(needs, needs.Available) - needs.PromisedInVain;

    private static long RoomIn(MemoryNeeds needs, long memory) => memory - needs.EveryToken - needs.Cache - ReserveOf(memory);

    private static string Gigabytes(long bytes) => FormattableString.Invariant($"{bytes / 1e9:F1} GB");
}
