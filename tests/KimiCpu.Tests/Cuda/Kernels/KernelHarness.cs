// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>The shipped kernels on the GPU under test, and memory for their arguments. Every buffer is an allocation of its own, so that one element too many is a fault.</summary>
internal sealed unsafe class KernelHarness : IDisposable
{
    private readonly Stack<IDisposable> _owned = [];

    /// <param name="mutant">Stands in for the shipped kernel of its name, in the interpreter.</param>
    public KernelHarness(PtxKernel? mutant = null)
    {
        DriverTable table;
        if (mutant is null)
        {
            GpuUnderTest gpu = Own(new GpuUnderTest());
            (Simulated, table) = (gpu.Simulated, gpu.Table);
        }
        else
        {
            Simulated = Own(new SimulatedDriver { Replaced = mutant });
            table = Simulated.Table;
        }

        Context = Own(new CudaContext(table, 0));
        Stream = Own(new CudaStream(Context));
        Kernels = Own(new KernelSet(Context));
    }

    /// <summary>Null where the GPU is a real one.</summary>
    public SimulatedDriver? Simulated { get; }

    public CudaContext Context { get; }

    public CudaStream Stream { get; }

    public KernelSet Kernels { get; }

    /// <summary>A buffer with these values.</summary>
    public ulong Put<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        ulong address = Own(new CudaDeviceVariable<T>(Context, values.Length)).DevicePointer;
        Write(address, values);
        return address;
    }

    /// <summary>Other values for a buffer.</summary>
    public void Write<T>(ulong address, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        using var staged = new CudaPageLockedHostMemory<T>(Context, values.Length);
        values.CopyTo(staged.Span);
        Stream.CopyToDevice(address, staged.Pointer, (long)values.Length * sizeof(T));
        Run();
    }

    /// <summary>A buffer of all ones: NaN where it is floats.</summary>
    public ulong New<T>(int count)
        where T : unmanaged
    {
        var ones = new T[count];
        MemoryMarshal.AsBytes(ones.AsSpan()).Fill(0xFF);
        return Put<T>(ones);
    }

    public DeviceWeight Put(in WeightMatrix source, DeviceFormat format)
    {
        var layout = new DeviceLayout();
        var weight = new DeviceWeight(source, format, layout);
        weight.Place(New<byte>((int)layout.Bytes));
        using var uploader = new WeightUploader(Context, Stream);
        uploader.Copy(weight);
        uploader.Finish();
        return weight;
    }

    /// <summary>What a buffer holds once the stream has run.</summary>
    public T[] Get<T>(ulong address, int count)
        where T : unmanaged
    {
        using var staged = new CudaPageLockedHostMemory<T>(Context, count);
        Stream.CopyToHost(staged.Pointer, address, (long)count * sizeof(T));
        Run();
        return staged.Span.ToArray();
    }

    /// <summary>Runs what was launched; a fault of the interpreter fails the test with its own words.</summary>
    public void Run()
    {
        try
        {
            Stream.Synchronize();
        }
        catch (GpuLostException)
        {
            throw new PtxFault(Simulated?.Fault ?? "lost without a fault");
        }
    }

    /// <summary>The values that the device has, row by row.</summary>
    public static double[][] Decode(DeviceWeight weight)
    {
        WeightMatrix source = weight.Source;
        var rows = new double[source.Rows][];
        for (int r = 0; r < source.Rows; r++)
        {
            rows[r] = new double[source.Columns];
            ReferenceLinear.DecodeRow(source, r, rows[r]);
            if (weight.Format == DeviceFormat.Int8)
            {
                var values = new sbyte[source.Columns];
                var scales = new Half[(source.Columns + DeviceFormats.Int8Group - 1) / DeviceFormats.Int8Group];
                fixed (sbyte* v = values)
                fixed (Half* s = scales)
                {
                    Int8Rows.Round(source, r, v, s);
                }

                for (int c = 0; c < values.Length; c++)
                {
                    rows[r][c] = values[c] * (double)scales[c / DeviceFormats.Int8Group];
                }
            }
        }

        return rows;
    }

    /// <summary>Random values in -1 … 1.</summary>
    public static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() * 2) - 1)];
    }

    /// <summary>A NaN is never close to anything.</summary>
    public static void AssertClose(double expected, double actual, double tolerance, string where)
    {
        if (!(Math.Abs(expected - actual) <= tolerance))
        {
            throw new AssertionException($"{where}: {actual:R}, expected {expected:R} within {tolerance:E1}");
        }
    }

    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }
}
