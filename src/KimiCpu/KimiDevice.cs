// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu;

/// <summary>Where a model's hot path runs: attention with its cache, dense layers, shared experts, router and head. Routed experts are the CPU's, but for INT4 ones that find room on a GPU or pass through it in prompts; see <see cref="KimiModelOptions.GpuExpertBytes"/>.</summary>
public readonly record struct KimiDevice
{
    private enum Kind
    {
        Cpu,
        Auto,
        Cuda,
    }

    private readonly Kind _kind;

    private KimiDevice(Kind kind, int ordinal) => (_kind, Ordinal) = (kind, ordinal);

    /// <summary>Everything on the CPU; the default.</summary>
    public static KimiDevice Cpu => default;

    /// <summary>
    /// The first NVIDIA GPU that the model suits and fits, with the context that <see cref="KimiModelOptions.ContextLength"/> asks for, else the CPU; <see cref="IKimiModel.Placement"/> says which, and the log why.
    /// When the GPU is lost later, the calls that had begun fail and the next ones run on the CPU.
    /// </summary>
    public static KimiDevice Auto => new(Kind.Auto, 0);

    /// <summary>Which GPU; 0 for the others.</summary>
    public int Ordinal { get; }

    internal bool IsCpu => _kind == Kind.Cpu;

    /// <summary>Whether the CPU may take over, when the model is opened and later.</summary>
    internal bool IsAuto => _kind == Kind.Auto;

    /// <summary>One NVIDIA GPU, with the context that fits; opening fails where it cannot be used, and every call once it is lost.</summary>
    /// <param name="ordinal">0 … number of GPUs - 1, in the driver's order: the fastest first where nothing else is said, not the order of nvidia-smi, which the environment variable CUDA_DEVICE_ORDER=PCI_BUS_ID makes this one too. CUDA_VISIBLE_DEVICES chooses among these numbers, and orders them anew.</param>
    /// <exception cref="ArgumentOutOfRangeException">It is negative.</exception>
    public static KimiDevice Cuda(int ordinal = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(ordinal);
        return new KimiDevice(Kind.Cuda, ordinal);
    }

    /// <summary>Reads what <see cref="ToString"/> writes; <c>cuda</c> alone is the first GPU.</summary>
    /// <param name="text"><c>cpu</c>, <c>auto</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <exception cref="FormatException">It is none of these.</exception>
    public static KimiDevice Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return TryParse(text, out KimiDevice device) ? device : throw new FormatException($"'{text}' is no device: cpu, auto, cuda or cuda:N are.");
    }

    /// <summary>As <see cref="Parse"/>, without an exception.</summary>
    /// <param name="text">May be null.</param>
    /// <param name="device">What was read; <see cref="Cpu"/> where it is none.</param>
    /// <returns>Whether it is a device.</returns>
    public static bool TryParse(string? text, out KimiDevice device)
    {
        KimiDevice? read = text switch
        {
            "cpu" => Cpu,
            "auto" => Auto,
            "cuda" => Cuda(),
            not null when text.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal) => Cuda(ordinal),
            _ => null,
        };
        device = read ?? default;
        return read is not null;
    }

    /// <summary><c>cpu</c>, <c>auto</c> or <c>cuda:0</c>.</summary>
    public override string ToString() => _kind switch
    {
        Kind.Cpu => "cpu",
        Kind.Auto => "auto",
        _ => $"cuda:{Ordinal}",
    };
}
