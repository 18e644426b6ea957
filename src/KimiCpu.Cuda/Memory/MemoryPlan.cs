// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Memory;

/// <summary>What is wanted of a GPU's memory.</summary>
/// <param name="MaxRows">Most tokens of a pass.</param>
/// <param name="ContextTokens">Tokens that the cache should hold; weights are reduced to 8 bits rather than this.</param>
/// <param name="SmallCache">Whether the cache's latents are reduced to 8 bits too where so many tokens do not fit otherwise, into the memory or into <paramref name="CacheBytes"/>.</param>
/// <param name="CacheBytes">Most bytes of the cache, and no weights are reduced for more; null for all that is left over.</param>
/// <param name="ExpertBytes">Most bytes for routed experts, of what the wanted context leaves; null for half of it, and what <paramref name="CacheBytes"/> keeps from the cache.</param>
/// <param name="StreamExperts">Whether other experts may pass through a ring in prompts.</param>
/// <param name="ManyRows">Most tokens of a pass where memory to spare has room for them and experts are streamed, which pays with their number; no more than <paramref name="MaxRows"/> for these.</param>
/// <param name="SmallWeights">Whether all weights are reduced to 8 bits, however much memory there is.</param>
/// <param name="LookAhead">Whether layers guess the experts of the next one; see <see cref="RoutedRows.Predicted"/>.</param>
/// <param name="ExpandedTokens">Tokens whose keys and values are expanded at once in prompts, whole pages, where memory to spare has room for them; 0 for none.</param>
/// <param name="ExpandedRows">Fewest tokens of a sequence in a pass for which that happens; null for where it takes fewer operations.</param>
/// <param name="FewestRows">What <paramref name="MaxRows"/> gives way to, by halves, before the cache is reduced or the context has less room; null where it does not.</param>
/// <param name="ReadRows">The same as <paramref name="ManyRows"/> where none are streamed: the CPU reads most of them in each pass, however few tokens it has.</param>
/// <param name="FewestTokens">Tokens of the context without which nothing is to be on this GPU, of those that <paramref name="CacheBytes"/> allows; 0 where it may hold as few as it can.</param>
/// <param name="SharesMemory">Whether the GPU's memory is the system's; see <see cref="OfSharedMemory"/>.</param>
/// <param name="ChargesLocked">Whether page-locked main memory counts against the GPU's; see <see cref="CudaStream.DriverCollects"/>.</param>
internal sealed record MemoryWish(int MaxRows, int ContextTokens, bool SmallCache = false, long? CacheBytes = null, long? ExpertBytes = 0, bool StreamExperts = false, int ManyRows = 0, bool SmallWeights = false, bool LookAhead = false, int ExpandedTokens = ExpandedAttention.BlockTokens, int? ExpandedRows = null, int? FewestRows = null, int ReadRows = 0, int FewestTokens = 0, bool SharesMemory = false, bool ChargesLocked = false)
{
    /// <summary>What tokens of a pass may give way to.</summary>
    public int LeastRows => FewestRows ?? MaxRows;

    /// <summary>Pages of the wanted context.</summary>
    public int Pages => Math.Max(1, PagesOf(ContextTokens));

    /// <summary>Those of them that the cache may have.</summary>
    public long KeptPages(long bytesOfPage) => CacheBytes is { } most ? Math.Clamp(most / bytesOfPage, 1, Pages) : Pages;

    /// <summary>Those of these that it must have.</summary>
    public long FewestPages(long bytesOfPage) => Math.Min(PagesOf(FewestTokens), KeptPages(bytesOfPage));

    /// <summary>Most tokens of a pass, as they are tried in turn.</summary>
    public IEnumerable<int> RowsInTurn()
    {
        for (int rows = MaxRows; rows > LeastRows; rows /= 2)
        {
            yield return rows;
        }

        yield return LeastRows;
    }

    /// <summary>The same with no more than so many tokens in any pass; not fewer than <see cref="LeastRows"/>.</summary>
    public MemoryWish OfRows(int most) => this with { MaxRows = Math.Min(MaxRows, most), ManyRows = Math.Min(ManyRows, most), ReadRows = Math.Min(ReadRows, most) };

    /// <summary>
    /// The same where the GPU has no memory of its own: what is spare there holds the routed experts already, so the cache gets no more than the wanted context, and experts no second place.
    /// As many bytes as are free, or more, are no limit here either, and ask for no share of what is the system's.
    /// </summary>
    public MemoryWish OfSharedMemory(ModelShape shape, long freeBytes) => this with
    {
        CacheBytes = CacheBytes < freeBytes ? CacheBytes : Pages * DevicePages.BytesOfPage(shape, CacheFormat.BFloat16),
        ExpertBytes = ExpertBytes ?? 0,
        SharesMemory = true,
    };

    private static int PagesOf(int tokens) => (int)(((long)tokens + KvPage.Tokens - 1) / KvPage.Tokens);
}

/// <summary>What goes where on a GPU, decided before anything is loaded.</summary>
internal sealed record MemoryPlan
{
    /// <summary>Part of the memory to spare that larger passes may take.</summary>
    private const int ManyRowsShare = 4;

    /// <summary>A share of the free memory that stays free, for the driver's own needs and for other programs' windows.</summary>
    private const int ReserveShare = 40;

    public required WeightPlan Weights { get; init; }

    public required long WeightBytes { get; init; }

    public required long WorkspaceBytes { get; init; }

    public required int MaxRows { get; init; }

    /// <summary>Whether layers guess the experts of the next one.</summary>
    public required bool LookAhead { get; init; }

    /// <summary>Tokens whose keys and values are expanded at once; 0 where the kernels do not suit, passes are too small, or memory is scarce.</summary>
    public required int ExpandedTokens { get; init; }

    /// <summary>Fewest tokens of a sequence in a pass for which that happens.</summary>
    public required int ExpandedRows { get; init; }

    public required CacheFormat CacheFormat { get; init; }

    /// <summary>Cache pages.</summary>
    public required int Pages { get; init; }

    public required long CacheBytes { get; init; }

    /// <summary>Routed experts that find room; 0 also where the GPU's kernels do not suit them.</summary>
    public required int ExpertSlots { get; init; }

    /// <summary>Bytes of these, and of what working with any experts takes.</summary>
    public required long ExpertBytes { get; init; }

    /// <summary>Places that experts pass through in prompts: <see cref="ExpertRing.Slots"/>, or 0 where they do not fit or suit.</summary>
    public required int RingSlots { get; init; }

    /// <summary>Bytes of the ring.</summary>
    public required long RingBytes { get; init; }

    /// <summary>Page-locked main memory where it counts against the GPU's; else 0, since the system gives it, which does not say how much it has.</summary>
    public required long LockedBytes { get; init; }

    public required long FreeBytes { get; init; }

    /// <summary>Tokens that the cache holds.</summary>
    public long CacheTokens => (long)Pages * KvPage.Tokens;

    /// <summary>The first plan, from exact weights to small ones unless only these are wanted, and then with a small cache where that may be, that leaves room for the wanted context, or for what is given of it; else the last, with the context that fits.</summary>
    /// <exception cref="CudaException">Not even a page fits, and the message has the whole table, or fewer tokens than there must be.</exception>
    public static MemoryPlan Fit(ModelWeights weights, MemoryWish wish, long freeBytes)
    {
        (MemoryPlan? fitting, string table) = FitFewerRows(weights, wish, freeBytes);
        MemoryPlan plan = fitting ?? throw new CudaException(
            $"The model does not fit the GPU: {Mib(freeBytes)} are free, {Mib(freeBytes / ReserveShare)} of which stay so.{table}\n"
            + $"{Remedy(wish)}, lower PrefillChunk, or run on the CPU.");

        if (plan.Pages < wish.FewestPages(DevicePages.BytesOfPage(weights.Shape, plan.CacheFormat)))
        {
            throw new CudaException(string.Create(CultureInfo.InvariantCulture,
                $"The GPU has room for {plan.CacheTokens:N0} tokens of context, with all that every token needs in 8 bits, and {wish.FewestTokens:N0} are to fit. "
                + $"{Remedy(wish)}, lower ContextLength or PrefillChunk, or set Device to KimiDevice.Cuda for this GPU, which takes as many as fit."));
        }

        // Neither weights nor context give way for larger passes.
        long kept = Math.Min(plan.Pages, wish.KeptPages(DevicePages.BytesOfPage(weights.Shape, plan.CacheFormat)));
        long spare = freeBytes - (freeBytes / ReserveShare) - plan.WeightBytes - plan.WorkspaceBytes - plan.LockedBytes - (kept * DevicePages.BytesOfPage(weights.Shape, plan.CacheFormat));
        for (int rows = plan.RingSlots > 0 ? wish.ManyRows : wish.ReadRows; rows > wish.MaxRows; rows /= 2)
        {
            MemoryPlan? larger = FitRows(weights, wish with { MaxRows = rows }, freeBytes, new StringBuilder());
            bool fits = larger is not null && larger.RingSlots == plan.RingSlots && larger.Weights == plan.Weights && larger.CacheFormat == plan.CacheFormat && larger.Pages >= kept;
            if (fits && (larger!.WorkspaceBytes + larger.LockedBytes - plan.WorkspaceBytes - plan.LockedBytes) * ManyRowsShare <= spare)
            {
                return larger;
            }
        }

        return plan;
    }

    /// <summary>Activations of a pass.</summary>
    public static Workspace WorkspaceOf(ModelWeights weights, int maxRows, bool lookAhead, int expandedTokens)
    {
        int width = weights.Layers.Max(l => Math.Max(l.Dense?.Gate.Rows ?? 1, l.Shared?.Gate.Rows ?? 1));
        return new Workspace(weights.Shape, maxRows, width, lookAhead, expandedTokens);
    }

    /// <summary>One line for a user.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Weights.Name} ({Mib(WeightBytes)}), work {Mib(WorkspaceBytes)}, {(CacheFormat == CacheFormat.Int8 ? "8-bit" : "BF16")} cache of {CacheTokens:N0} tokens ({Mib(CacheBytes)}), {(ExpertBytes > 0 ? $"{ExpertSlots:N0} routed experts ({Mib(ExpertBytes)}), " : "")}{(RingSlots > 0 ? $"ring for {RingSlots} streamed ones ({Mib(RingBytes)}), " : "")}{(LockedBytes > 0 ? $"page-locked main memory ({Mib(LockedBytes)}), which counts here, " : "")}of {Mib(FreeBytes)} free");

    /// <summary>
    /// The same with as many rows as leave the wanted context its memory, of those that may be: where experts are read from drives large passes are worth weights in 8 bits,
    /// but neither the context nor a cache in 8 bits. Null where not even a page fits; the table is that of the last try.
    /// </summary>
    private static (MemoryPlan? Plan, string Table) FitFewerRows(ModelWeights weights, MemoryWish wish, long freeBytes)
    {
        bool[] smallCaches = wish.SmallCache && !NeedsSmallCache(weights.Shape, wish) ? [false, true] : [wish.SmallCache];
        (MemoryPlan? plan, StringBuilder table) = (null, new StringBuilder());
        foreach (bool smallCache in smallCaches)
        {
            foreach (int rows in wish.RowsInTurn())
            {
                plan = FitRows(weights, wish with { MaxRows = rows, SmallCache = smallCache }, freeBytes, table.Clear());
                if (plan is not null && plan.Pages >= wish.KeptPages(DevicePages.BytesOfPage(weights.Shape, plan.CacheFormat)))
                {
                    return (plan, table.ToString());
                }
            }
        }

        return (plan, table.ToString());
    }

    /// <summary>The same for one number of rows; null where not even a page fits.</summary>
    /// <param name="weights">Of the model.</param>
    /// <param name="wish">What is wanted.</param>
    /// <param name="freeBytes">What is there.</param>
    /// <param name="table">Gets a line for each plan.</param>
    private static MemoryPlan? FitRows(ModelWeights weights, MemoryWish wish, long freeBytes, StringBuilder table)
    {
        int wantedPages = wish.Pages;
        long spendable = freeBytes - (freeBytes / ReserveShare);
        List<(WeightPlan Weights, CacheFormat Cache)> steps = Steps(weights.Shape, wish);
        foreach ((WeightPlan plan, CacheFormat cache) in steps)
        {
            long pageBytes = DevicePages.BytesOfPage(weights.Shape, cache);
            long weightBytes = new DeviceWeights(weights, plan).Bytes;
            long activations = WorkspaceOf(weights, wish.MaxRows, wish.LookAhead, 0).Bytes;
            long workspace = activations + (2L * sizeof(uint) * wish.MaxRows);

            // A page costs its slots and its entries in the page tables.
            long lockedOfPage = wish.ChargesLocked ? LockedMemory.OfPage(wish.MaxRows) : 0;
            long costOfPage = pageBytes + ((long)wish.MaxRows * sizeof(uint)) + lockedOfPage;
            long locked = wish.ChargesLocked ? LockedMemory.OfSteps(weights.Shape, wish.MaxRows, wish.LookAhead, pageBytes) : 0;
            workspace += StepInputs.DeviceBytes(weights.Shape, wish.MaxRows, 0);
            long left = spendable - weightBytes - workspace - locked;
            long pages = Math.Clamp(left / costOfPage, 0, int.MaxValue);
            table.Append(CultureInfo.InvariantCulture, $"\n  {plan.Name}{(cache == CacheFormat.Int8 ? ", 8-bit cache" : "")}: weights {Mib(weightBytes)}, work {Mib(workspace)}, {(locked > 0 ? $"page-locked main memory {Mib(locked)}, " : "")}{(left < 0 ? $"{Mib(-left)} too much" : $"{Mib(left)} left for {pages * KvPage.Tokens:N0} tokens")}");
            long keptPages = wish.KeptPages(pageBytes);
            bool last = (plan, cache) == steps[^1];
            if (pages == 0 || (pages < keptPages && !last))
            {
                continue;
            }

            // Neither weights nor context give way to the expansion of keys and values; without it prompts take more operations.
            int expandedRows = wish.ExpandedRows ?? ExpandedAttention.FewestRows(weights.Shape);
            int expandedTokens = ExpandedTokensOf(weights.Shape, wish, expandedRows);
            long expansion = WorkspaceOf(weights, wish.MaxRows, wish.LookAhead, expandedTokens).Bytes - activations;
            if (left - expansion >= keptPages * costOfPage)
            {
                workspace += expansion;
                left -= expansion;
            }
            else
            {
                expandedTokens = 0;
            }

            ExpertRoom room = Experts(weights, wish, left, pageBytes, costOfPage, Math.Min(pages, wantedPages));
            pages = Math.Clamp((left - room.Bytes - room.RingBytes - room.LockedBytes) / costOfPage, 1, int.MaxValue);
            if (wish.CacheBytes is { } limit)
            {
                pages = Math.Clamp(limit / pageBytes, 1, pages);
            }

            return new MemoryPlan
            {
                Weights = plan,
                WeightBytes = weightBytes,
                WorkspaceBytes = workspace,
                MaxRows = wish.MaxRows,
                LookAhead = wish.LookAhead,
                ExpandedTokens = expandedTokens,
                ExpandedRows = expandedRows,
                CacheFormat = cache,
                Pages = (int)pages,
                CacheBytes = pages * pageBytes,
                ExpertSlots = room.Slots,
                ExpertBytes = room.Bytes,
                RingSlots = room.RingBytes > 0 ? ExpertRing.Slots : 0,
                RingBytes = room.RingBytes,
                LockedBytes = locked + (pages * lockedOfPage) + room.LockedBytes,
                FreeBytes = freeBytes,
            };
        }

        return null;
    }

    /// <summary>What is tried in turn, the cache's format last. Where the cache's bytes are given and do not hold the wanted context in BF16, no reduced weight would help: then it is the first.</summary>
    private static List<(WeightPlan Weights, CacheFormat Cache)> Steps(ModelShape shape, MemoryWish wish)
    {
        bool needsSmallCache = NeedsSmallCache(shape, wish);
        CacheFormat first = needsSmallCache ? CacheFormat.Int8 : CacheFormat.BFloat16;
        List<(WeightPlan, CacheFormat)> steps = [.. WeightPlan.All.TakeLast(wish.SmallWeights ? 1 : WeightPlan.All.Count).Select(w => (w, first))];
        if (wish.SmallCache && !needsSmallCache)
        {
            steps.Add((WeightPlan.All[^1], CacheFormat.Int8));
        }

        return steps;
    }

    private static bool NeedsSmallCache(ModelShape shape, MemoryWish wish) =>
        wish.SmallCache && wish.CacheBytes < wish.Pages * DevicePages.BytesOfPage(shape, CacheFormat.BFloat16);

    /// <summary>How many tokens are expanded at once where memory has room: no more than a sequence can have.</summary>
    private static int ExpandedTokensOf(ModelShape shape, MemoryWish wish, int expandedRows) =>
        wish.MaxRows >= expandedRows && KernelSet.SuitsAttendExpanded(shape)
            ? Math.Min(wish.ExpandedTokens, (shape.MaxPositions + KvPage.Tokens - 1) / KvPage.Tokens * KvPage.Tokens)
            : 0;

    /// <summary>
    /// How many experts find room behind the cache that is wanted. The cache's limit gives them what it keeps from the cache, and takes nothing from them: as much as the cache would have without it, or more, is none.
    /// The ring comes first: all experts pass through it, and a few that stay gain little.
    /// </summary>
    private static ExpertRoom Experts(ModelWeights weights, MemoryWish wish, long left, long pageBytes, long costOfPage, long wantedPages)
    {
        if (wish.ExpertBytes == 0 || ExpertSlotLayout.Of(weights) is not { } layout)
        {
            return default;
        }

        long spare = left - (wantedPages * costOfPage);
        long bytes = Math.Min(spare, wish.ExpertBytes ?? (spare / 2));
        if (wish.CacheBytes is { } cache)
        {
            long pages = Math.Max(1, cache / pageBytes);
            spare = left - (Math.Min(pages, left / costOfPage) * costOfPage);
            bytes = pages < (left - bytes) / costOfPage ? Math.Min(spare, wish.ExpertBytes ?? spare) : bytes;
        }

        long work = ExpertWorkBytes(weights.Shape, wish.MaxRows);
        long locked = wish.ChargesLocked ? LockedMemory.OfExperts(weights.Shape, wish.MaxRows, layout) : 0;
        long ring = ExpertRing.Slots * layout.Bytes;
        long lockedRing = wish.ChargesLocked ? LockedMemory.OfRing(layout) : 0;
        (ring, lockedRing) = wish.StreamExperts && bytes >= work + locked + ring + lockedRing ? (ring, lockedRing) : (0, 0);
        long slots = Math.Clamp((bytes - work - locked - ring - lockedRing) / layout.Bytes, 0, weights.Layers.Sum(l => (long)l.Experts.Length));
        return slots > 0 || ring > 0 ? new ExpertRoom((int)slots, work + (slots * layout.Bytes), ring, locked + lockedRing) : default;
    }

    /// <summary>Bytes beside the experts themselves.</summary>
    internal static long ExpertWorkBytes(ModelShape shape, int maxRows) => new ExpertWork(shape, maxRows).Bytes + HotExperts.TableBytes(shape);

    /// <summary>nvidia-smi knows nothing of memory that is the system's.</summary>
    private static string Remedy(MemoryWish wish) => wish.SharesMemory ? "Free main memory, which is the GPU's too" : "Free memory on the GPU (nvidia-smi shows who holds it)";

    private static string Mib(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes >> 20:N0} MiB");

    /// <summary>Experts that stay, bytes of these with what working with any takes, bytes of the ring, and of page-locked memory for all that where it counts.</summary>
    private readonly record struct ExpertRoom(int Slots, long Bytes, long RingBytes, long LockedBytes);
}
