// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Constraints;

/// <summary>Schemas that hold together, as many as a text has room for.</summary>
internal static class AllOf
{
    private const int Width = 16;

    /// <summary>Sixteen at each place and level: to put them together one by one would take the square of their number.</summary>
    public static string Of(IEnumerable<string> schemas)
    {
        string[] level = [.. schemas];
        while (level.Length > 1)
        {
            level = [.. level.Chunk(Width).Select(part => "{\"allOf\":[" + string.Join(',', part) + "]}")];
        }

        return level.Single();
    }
}
