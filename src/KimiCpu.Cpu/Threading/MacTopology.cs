// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Threading;

/// <summary>macOS: how many physical cores there are. Threads cannot be tied to them, so which is which does not matter.</summary>
internal static unsafe partial class MacTopology
{
    public static IEnumerable<LogicalProcessor> Read()
    {
        int cores = 0;
        nuint size = sizeof(int);
        try
        {
            if (ReadValue("hw.physicalcpu", &cores, ref size, null, 0) != 0)
            {
                cores = 0;
            }
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            cores = 0;
        }

        return CpuTopology.Unknown(cores > 0 ? cores : Environment.ProcessorCount);
    }

    [LibraryImport("libc", EntryPoint = "sysctlbyname", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ReadValue(string name, void* value, ref nuint size, void* newValue, nuint newSize);
}
