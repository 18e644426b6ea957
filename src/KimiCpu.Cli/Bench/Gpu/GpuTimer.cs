// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>Times work of one stream by the GPU's own clock.</summary>
internal sealed class GpuTimer : IDisposable
{
    private readonly CudaContext _context;
    private readonly CudaStream _stream;
    private readonly CudaEvent _start;
    private readonly CudaEvent _end;

    public GpuTimer(CudaContext context, CudaStream stream)
    {
        (_context, _stream) = (context, stream);
        _start = new CudaEvent(context, timed: true);
        try
        {
            _end = new CudaEvent(context, timed: true);
        }
        catch
        {
            _start.Dispose();
            throw;
        }
    }

    /// <summary>Seconds of one of many launches, which are recorded: launching one by one takes longer than short kernels do.</summary>
    /// <param name="launches">How many.</param>
    /// <param name="repetitions">Of which the median counts.</param>
    /// <param name="put">Puts a launch into the stream, by its number.</param>
    public double Seconds(int launches, int repetitions, Action<int> put)
    {
        using var graph = CudaGraphExec.Capture(_context, _stream, () =>
        {
            for (int i = 0; i < launches; i++)
            {
                put(i);
            }
        });
        return Seconds(repetitions, () => graph.Launch(_stream)) / launches;
    }

    /// <summary>Seconds of what an action puts into the stream.</summary>
    public double Seconds(int repetitions, Action put)
    {
        // The first time something may still be translated or brought to the GPU.
        put();
        _stream.Synchronize();
        var seconds = new double[repetitions];
        for (int i = 0; i < repetitions; i++)
        {
            // What runs before the mark keeps the GPU busy until the host has sent off what is timed.
            put();
            _start.Record(_stream);
            put();
            _end.Record(_stream);
            _end.Synchronize();
            seconds[i] = _end.SecondsSince(_start);
        }

        Array.Sort(seconds);
        return seconds[repetitions / 2];
    }

    public void Dispose()
    {
        _end.Dispose();
        _start.Dispose();
    }
}
