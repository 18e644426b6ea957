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
    public Option<bool> Switch { get; } = new("--gpu") { Description = "A GPU instead: each kernel at the sizes of Kimi K2 beside the memory's bandwidth, the way to the host and back, a whole step (takes up to 12 GB of its memory)." };

    public Option<string?> Device { get; } = new("--device") { Description = "With --gpu: cuda or cuda:N (the fastest GPU is 0; with CUDA_DEVICE_ORDER=PCI_BUS_ID numbers are nvidia-smi's). Default: cuda:0.", HelpName = "DEVICE" };

    public void AddTo(Command command)
    {
        command.Add(Switch);
        command.Add(Device);
    }

    /// <exception cref="FormatException">The device is no GPU.</exception>
    /// <exception cref="KimiException">The GPU cannot be used.</exception>
    public void Run(ParseResult parsed, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        var device = KimiDevice.Parse(parsed.GetValue(Device) ?? "cuda");
        if (device.IsCpu || device.IsAuto)
        {
            throw new FormatException($"--gpu measures cuda or cuda:N; found '{device}'.");
        }

        GpuBenchReport.Run(DriverTable.OfInstalledDriver, device.Ordinal, GpuBenchSizes.KimiK2, json, streams, cancellationToken);
    }
}
