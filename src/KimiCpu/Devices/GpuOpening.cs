// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Memory;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Devices;

/// <summary>Opens the GPU that a model is to use, where there is one.</summary>
internal static class GpuOpening
{
    /// <summary>Tokens of a pass that may decode beside a prompt's chunk; calls beyond wait for a place.</summary>
    internal const int DecodeRows = 64;

    /// <summary>Tokens that the weights leave room for where nobody asks for more.</summary>
    internal const int Context = 32768;

    /// <summary>Of them where the CPU may be used instead: a GPU with less room is of little use.</summary>
    private const int FewestTokens = 4096;

    /// <summary>Whether there is to be a GPU, if one can be used.</summary>
    public static bool IsWanted(KimiModelOptions options) => !options.Device.IsCpu && !(options.Device.IsAuto && options.Exact);

    /// <param name="weights">Of the model.</param>
    /// <param name="options">What the user asks for.</param>
    /// <param name="context">Most tokens of a call.</param>
    /// <param name="prefillChunk">Most prompt tokens of a step.</param>
    /// <param name="largeChunk">The same where experts are streamed and memory allows it.</param>
    /// <param name="readChunk">The same where the CPU computes them all.</param>
    /// <param name="placement">Decides which experts fill spare memory; null where none are to.</param>
    /// <param name="files">Where a store reads the experts from; null where they are used in the mapping.</param>
    /// <param name="lookAhead">Whether layers guess the experts of the next one, for a store that reads ahead.</param>
    /// <param name="logger">Told why a GPU is passed over, or the CPU takes its place.</param>
    /// <returns>Null for the CPU.</returns>
    /// <exception cref="KimiException">A GPU is asked for that cannot be used.</exception>
    public static CudaBackend? Open(ModelWeights weights, KimiModelOptions options, int context, int prefillChunk, int largeChunk, int readChunk, IExpertPlacement? placement, ExpertFiles? files, bool lookAhead, ILogger logger)
    {
        if (!IsWanted(options))
        {
            if (options.Device.IsAuto)
            {
                KimiLog.Warned(logger, "The model runs on the CPU, since KimiModelOptions.Exact is set: no GPU computes exactly.");
            }

            return null;
        }

        // Nobody gets a cache in 8 bits who has not asked for a context that needs it.
        bool asked = options.ContextLength is not null;
        int fewest = !options.Device.IsAuto ? 0 : asked ? context : Math.Min(context, FewestTokens);
        var wish = new MemoryWish(prefillChunk + DecodeRows, asked ? context : Math.Min(context, Context), asked, options.KvCacheBytes, placement is null ? 0 : options.GpuExpertBytes, StreamExperts: true, largeChunk + DecodeRows, options.Int8HotPath, lookAhead, FewestRows: (options.PrefillChunk ?? ModelMemory.UsualChunk) + DecodeRows, ReadRows: readChunk + DecodeRows, FewestTokens: fewest);
        var how = new CudaHotPathOptions
        {
            Patience = options.GpuPatience ?? CudaContext.DefaultPatience,
            Placement = placement,
            ExpertFiles = files,
            SystemBytes = () => ProcessMemory.Now().AvailableBytes,
            Warn = problem => KimiLog.Warned(logger, problem),
            Progress = (done, total) => options.Progress?.Report(new LoadProgress("gpu", done, total)),
            ExpertProgress = (done, total) => options.Progress?.Report(new LoadProgress("gpu experts", done, total)),
        };
        try
        {
            DriverTable driver = options.CudaDriver ?? DriverTable.OfInstalledDriver();
            CudaBackend On(int ordinal) => new(driver, ordinal, weights, wish, how);
            return options.Device.IsAuto ? First(CudaContext.Count(driver), On, logger) : On(options.Device.Ordinal);
        }
        catch (DeviceException e) when (options.Device.IsAuto)
        {
            KimiLog.Warned(logger, $"The model runs on the CPU. {e.Message}");
            return null;
        }
        catch (DeviceException e)
        {
            throw new KimiException(e.Message, e);
        }
    }

    /// <summary>The first GPU that the model suits and fits, with the context that is asked for.</summary>
    /// <exception cref="DeviceException">There is none; the message says of each why.</exception>
    private static CudaBackend First(int count, Func<int, CudaBackend> open, ILogger logger)
    {
        List<string> reasons = [];
        for (int ordinal = 0; ; ordinal++)
        {
            try
            {
                CudaBackend gpu = open(ordinal);
                if (reasons.Count > 0)
                {
                    KimiLog.PassedOver(logger, gpu.Name, string.Join(' ', reasons));
                }

                return gpu;
            }
            catch (DeviceException e) when (count > 1)
            {
                reasons.Add($"GPU {ordinal}: {e.Message}");
                if (reasons.Count == count)
                {
                    throw new CudaException(string.Join(' ', reasons));
                }
            }
        }
    }
}
