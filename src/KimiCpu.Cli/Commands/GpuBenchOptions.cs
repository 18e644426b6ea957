// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Cli.Bench.Gpu;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cli.Commands;

/// <summary>The options of <c>kimi bench --gpu</c>.</summary>
internal sealed class GpuBenchOptions
{
    private readonly Option<bool> _gpu = new("--gpu") { Description = "A GPU instead: each kernel at the sizes of Kimi K2 beside the memory's bandwidth, the way to the host and back, a whole step (takes up to 12 GB of its memory)." };

    private readonly Option<string?> _device = new("--device") { Description = "With --gpu: cuda or cuda:N. Default: cuda:0.", HelpName = "DEVICE" };

    public void AddTo(Command command)
    {
        command.Add(_gpu);
        command.Add(_device);
    }

    /// <exception cref="FormatException">A device is given without --gpu.</exception>
    public bool AreUsed(ParseResult parsed) => parsed.GetValue(_gpu) || (parsed.GetValue(_device) is null ? false : throw new FormatException("--device belongs to --gpu, which is missing."));

    /// <exception cref="FormatException">The device is no GPU.</exception>
    /// <exception cref="KimiException">The GPU cannot be used.</exception>
    public void Run(ParseResult parsed, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        var device = KimiDevice.Parse(parsed.GetValue(_device) ?? "cuda");
        if (device.IsCpu || device.IsAuto)
        {
            throw new FormatException($"--gpu measures cuda or cuda:N; found '{device}'.");
        }

        GpuBenchReport.Run(DriverTable.OfInstalledDriver, device.Ordinal, GpuBenchSizes.KimiK2, json, streams, cancellationToken);
    }
}
