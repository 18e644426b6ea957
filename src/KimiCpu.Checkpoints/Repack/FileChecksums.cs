// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Hashing;

namespace KimiCpu.Checkpoints;

/// <summary>Checksums of a file and of each of its tensors, from its bytes as they pass by.</summary>
/// <param name="tensors">In order of their data.</param>
/// <param name="headBytes">What lies before the first tensor.</param>
internal sealed class FileChecksums(IReadOnlyList<TensorEntry> tensors, long headBytes)
{
    private readonly XxHash128 _file = new();
    private readonly XxHash128 _tensor = new();
    private readonly Dictionary<string, string> _ofTensors = new(StringComparer.Ordinal);
    private long _left = headBytes;
    private int _current = -1;

    /// <summary>Bytes so far.</summary>
    public long Bytes { get; private set; }

    /// <param name="bytes">Those that follow the ones before.</param>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        _file.Append(bytes);
        Bytes += bytes.Length;
        while (_current < tensors.Count)
        {
            int count = (int)Math.Min(_left, bytes.Length);
            if (_current >= 0)
            {
                _tensor.Append(bytes[..count]);
            }

            _left -= count;
            bytes = bytes[count..];
            if (_left > 0)
            {
                return;
            }

            Next();
        }
    }

    /// <summary>The checksums of all bytes so far.</summary>
    /// <param name="name">Of the file.</param>
    public WrittenFile Result(string name) => new(name, Bytes, Convert.ToHexStringLower(_file.GetCurrentHash()), _ofTensors);

    private void Next()
    {
        if (_current >= 0)
        {
            _ofTensors.Add(tensors[_current].Name, Convert.ToHexStringLower(_tensor.GetHashAndReset()));
        }

        _current++;
        _left = _current < tensors.Count ? tensors[_current].Length : 0;
    }
}
