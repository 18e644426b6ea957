// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;

namespace KimiCpu.Checkpoints;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">As in checkpoints.</param>
/// <param name="Type">Of its elements.</param>
/// <param name="Shape">Extents, outermost first.</param>
/// <param name="Fill">Fills consecutive parts of the tensor's bytes; null leaves a hole of zeros, which takes no space on disk.</param>
internal sealed record TensorToWrite(string Name, ElementType Type, long[] Shape, SpanAction<byte, long>? Fill)
{
    public long Length => Shape.Aggregate((long)Type.Bytes(), (a, b) => a * b);
}

/// <summary>Writes safetensors files, streamed: beside their place first, then moved there.</summary>
internal static class SafetensorsWriter
{
    private const int PartBytes = 1 << 20;

    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="tensors">In order of their data.</param>
    /// <param name="cancellationToken">Honoured between parts; the unfinished file is deleted.</param>
    public static void Write(string path, IReadOnlyList<TensorToWrite> tensors, CancellationToken cancellationToken = default)
    {
        string unfinished = path + ".unfinished";
        try
        {
            using (var file = new FileStream(unfinished, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16))
            {
                file.Write(Head(tensors));
                var part = new byte[PartBytes];
                foreach (TensorToWrite tensor in tensors)
                {
                    WriteData(file, tensor, part, cancellationToken);
                }

                file.SetLength(file.Position);
            }

            File.Move(unfinished, path, overwrite: true);
        }
        finally
        {
            UnfinishedFile.Discard(unfinished);
        }
    }

    private static void WriteData(FileStream file, TensorToWrite tensor, byte[] part, CancellationToken cancellationToken)
    {
        if (tensor.Fill is null)
        {
            file.Seek(tensor.Length, SeekOrigin.Current);
            return;
        }

        for (long done = 0; done < tensor.Length; done += part.Length)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Span<byte> bytes = part.AsSpan(0, (int)Math.Min(part.Length, tensor.Length - done));
            tensor.Fill(bytes, done);
            file.Write(bytes);
        }
    }

    /// <summary>What stands before the data: the header's length, the header, and blanks so that the data begin aligned.</summary>
    /// <param name="tensors">In order of their data.</param>
    /// <param name="alignment">Of the first tensor in the file; a multiple of 8.</param>
    /// <param name="metadata">Texts for the header's <c>__metadata__</c>.</param>
    public static byte[] Head(IReadOnlyList<TensorToWrite> tensors, int alignment = 8, IReadOnlyDictionary<string, string>? metadata = null)
    {
        const int LengthBytes = 8;
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            long offset = 0;
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata)
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
            }

            foreach (TensorToWrite tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.Type.Name());
                WriteNumbers(json, "shape", tensor.Shape);
                WriteNumbers(json, "data_offsets", [offset, offset + tensor.Length]);
                json.WriteEndObject();
                offset += tensor.Length;
            }

            json.WriteEndObject();
        }

        int unaligned = (LengthBytes + buffer.WrittenCount) % alignment;
        var head = new byte[LengthBytes + buffer.WrittenCount + ((alignment - unaligned) % alignment)];
        BinaryPrimitives.WriteInt64LittleEndian(head, head.Length - LengthBytes);
        buffer.WrittenSpan.CopyTo(head.AsSpan(LengthBytes));
        head.AsSpan(LengthBytes + buffer.WrittenCount).Fill((byte)' ');
        return head;
    }

    private static void WriteNumbers(Utf8JsonWriter json, string name, long[] numbers)
    {
        json.WriteStartArray(name);
        Array.ForEach(numbers, json.WriteNumberValue);
        json.WriteEndArray();
    }
}
