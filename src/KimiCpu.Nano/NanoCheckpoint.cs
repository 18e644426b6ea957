// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;

namespace KimiCpu.Nano;

/// <summary>Where the files of the embedded model are: manifest resources of this assembly, read in place.</summary>
internal static class NanoCheckpoint
{
    /// <summary>Stands before each file's name.</summary>
    public const string ResourcePrefix = "kimi-nano/";

    public const string Name = "kimi-nano";

    public static Assembly Assembly => typeof(NanoCheckpoint).Assembly;
}
