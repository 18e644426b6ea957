// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>The functions of modules and kernels.</summary>
internal sealed unsafe partial class SimulatedDriver
{
    [UnmanagedCallersOnly]
    private static CUResult ModuleLoadDataEx(nint* module, void* image, uint count, int* options, void** values)
    {
        nint text = (nint)image;
        return Enter(
            d =>
            {
                try
                {
                    *module = d.Add(ModuleOf(Text((byte*)text)));
                    return CUResult.Success;
                }
                catch (PtxFault e)
                {
                    // Option 5 is the buffer for the translator's log, 6 its size.
                    byte[] log = Encoding.UTF8.GetBytes(e.Message + "\0");
                    int bytes = Math.Min(log.Length, (int)(nint)values[1]);
                    log.AsSpan(0, bytes).CopyTo(new Span<byte>(values[0], bytes));
                    return CUResult.ErrorInvalidPtx;
                }
            },
            "cuModuleLoadDataEx");
    }

    [UnmanagedCallersOnly]
    private static CUResult ModuleUnload(nint module) => Release(d =>
    {
        // Its functions go with it.
        foreach (nint function in d._handles.Where(h => h.Value is SimulatedFunction).Select(h => h.Key).ToArray())
        {
            d._handles.Remove(function);
        }

        return d.Remove<PtxModule>(module);
    });

    [UnmanagedCallersOnly]
    private static CUResult ModuleGetFunction(nint* function, nint module, byte* name)
    {
        nint text = (nint)name;
        return Enter(
            d =>
            {
                if (!d.Get<PtxModule>(module).Kernels.TryGetValue(Text((byte*)text), out PtxKernel? kernel))
                {
                    return CUResult.ErrorNotFound;
                }

                *function = d.Add(new SimulatedFunction(d.Replaced?.Name == kernel.Name ? d.Replaced : kernel));
                return CUResult.Success;
            },
            "cuModuleGetFunction");
    }

    [UnmanagedCallersOnly]
    private static CUResult FuncSetAttribute(nint function, int attribute, int value) => Enter(
        d =>
        {
            // What the function declares itself counts too.
            SimulatedFunction f = d.Get<SimulatedFunction>(function);
            bool fits = attribute == 8 && f.Kernel.SharedBytes + value <= 99 * 1024;
            f.MaxDynamicBytes = fits ? value : f.MaxDynamicBytes;
            return fits ? CUResult.Success : CUResult.ErrorInvalidValue;
        },
        "cuFuncSetAttribute");

    [UnmanagedCallersOnly]
    private static CUResult FuncGetAttribute(int* value, int attribute, nint function) => Enter(
        d =>
        {
            PtxKernel kernel = d.Get<SimulatedFunction>(function).Kernel;
            *value = attribute switch
            {
                3 => d.LocalBytesOf.GetValueOrDefault(kernel.Name),
                4 => 32,
                _ => throw new PtxFault($"function attribute {attribute} is not simulated"),
            };
            return CUResult.Success;
        },
        "cuFuncGetAttribute");

    [UnmanagedCallersOnly]
    private static CUResult LaunchKernel(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicBytes, nint stream, void** parameters, void** extra) => Enter(
        d =>
        {
            SimulatedFunction f = d.Get<SimulatedFunction>(function);
            if (dynamicBytes > f.MaxDynamicBytes || blockY != 1 || blockZ != 1)
            {
                return CUResult.ErrorInvalidValue;
            }

            d.LaunchesOf[f.Kernel.Name] = d.LaunchesOf.GetValueOrDefault(f.Kernel.Name) + 1;
            var arguments = new byte[f.Kernel.ParameterBytes];
            for (int i = 0; i < f.Kernel.Parameters.Count; i++)
            {
                PtxParameter parameter = f.Kernel.Parameters[i];
                new ReadOnlySpan<byte>(parameters[i], parameter.Bytes).CopyTo(arguments.AsSpan(parameter.Offset));
            }

            d.Launched?.Invoke(f.Kernel.Name, (int)blockX, arguments);
            return d.Put(stream, () => d._machine.Launch(f.Kernel, gridX, gridY, gridZ, (int)blockX, (int)dynamicBytes, arguments));
        },
        "cuLaunchKernel");
}
