// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Element types of safetensors files.</summary>
internal enum ElementType : byte
{
    Bool,
    UInt8,
    Int8,
    Float8E4M3,
    Float8E5M2,
    Int16,
    UInt16,
    Float16,
    BFloat16,
    Int32,
    UInt32,
    Float32,
    Int64,
    UInt64,
    Float64,
}

internal static class ElementTypes
{
    public static int Bytes(this ElementType type) => type switch
    {
        <= ElementType.Float8E5M2 => 1,
        <= ElementType.BFloat16 => 2,
        <= ElementType.Float32 => 4,
        _ => 8,
    };

    /// <summary>The type with this name in a header, as UTF-8.</summary>
    public static bool TryParse(ReadOnlySpan<byte> name, out ElementType type)
    {
        (bool known, type) = name switch
        {
            _ when name.SequenceEqual("BOOL"u8) => (true, ElementType.Bool),
            _ when name.SequenceEqual("U8"u8) => (true, ElementType.UInt8),
            _ when name.SequenceEqual("I8"u8) => (true, ElementType.Int8),
            _ when name.SequenceEqual("F8_E4M3"u8) => (true, ElementType.Float8E4M3),
            _ when name.SequenceEqual("F8_E5M2"u8) => (true, ElementType.Float8E5M2),
            _ when name.SequenceEqual("I16"u8) => (true, ElementType.Int16),
            _ when name.SequenceEqual("U16"u8) => (true, ElementType.UInt16),
            _ when name.SequenceEqual("F16"u8) => (true, ElementType.Float16),
            _ when name.SequenceEqual("BF16"u8) => (true, ElementType.BFloat16),
            _ when name.SequenceEqual("I32"u8) => (true, ElementType.Int32),
            _ when name.SequenceEqual("U32"u8) => (true, ElementType.UInt32),
            _ when name.SequenceEqual("F32"u8) => (true, ElementType.Float32),
            _ when name.SequenceEqual("I64"u8) => (true, ElementType.Int64),
            _ when name.SequenceEqual("U64"u8) => (true, ElementType.UInt64),
            _ when name.SequenceEqual("F64"u8) => (true, ElementType.Float64),
            _ => (false, default),
        };
        return known;
    }

    /// <summary>Whether the format knows a type of this name that is not read here: a file with it is as it was published.</summary>
    public static bool IsUnsupported(ReadOnlySpan<byte> name) =>
        name.SequenceEqual("F4"u8) || name.SequenceEqual("F6_E2M3"u8) || name.SequenceEqual("F6_E3M2"u8) || name.SequenceEqual("F8_E8M0"u8) || name.SequenceEqual("C64"u8);

    /// <summary>The name that headers use.</summary>
    public static string Name(this ElementType type) => type switch
    {
        ElementType.Bool => "BOOL",
        ElementType.UInt8 => "U8",
        ElementType.Int8 => "I8",
        ElementType.Float8E4M3 => "F8_E4M3",
        ElementType.Float8E5M2 => "F8_E5M2",
        ElementType.Int16 => "I16",
        ElementType.UInt16 => "U16",
        ElementType.Float16 => "F16",
        ElementType.BFloat16 => "BF16",
        ElementType.Int32 => "I32",
        ElementType.UInt32 => "U32",
        ElementType.Float32 => "F32",
        ElementType.Int64 => "I64",
        ElementType.UInt64 => "U64",
        _ => "F64",
    };
}

/// <summary>One tensor of one shard: what it is and where its bytes lie, all checked against the file.</summary>
/// <param name="Name">As in the file.</param>
/// <param name="Type">Of its elements.</param>
/// <param name="Shape">Extents, outermost first; empty for a scalar.</param>
/// <param name="Offset">Of its first byte from the start of the file; not necessarily aligned.</param>
/// <param name="Length">In bytes.</param>
/// <param name="Shard">Index of the shard that holds it.</param>
internal sealed record TensorEntry(string Name, ElementType Type, long[] Shape, long Offset, long Length, int Shard)
{
    /// <summary>Whether it is a part of an expert that not every token uses.</summary>
    public bool IsRoutedExpert => Name.Contains(".mlp.experts.", StringComparison.Ordinal);

    public bool HasShape(params ReadOnlySpan<long> shape) => shape.SequenceEqual(Shape);

    /// <summary>Type and shape for messages, such as <c>BF16 [7168, 2048]</c>.</summary>
    public override string ToString() => $"{Type.Name()} [{string.Join(", ", Shape)}]";
}
