// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cuda.Weights;

/// <summary>
/// Brings weights from main memory to the device through two page-locked buffers: one is filled while the
/// other one's copy runs. Pads rows, and rounds to 8 bits where a plan says so.
/// </summary>
internal sealed unsafe class WeightUploader : IDisposable
{
    private const int BufferBytes = 8 << 20;
    private const int BufferCount = 2;

    private readonly CudaContext _context;
    private readonly CudaStream _stream;
    private readonly Stack<IDisposable> _owned = [];
    private readonly CudaPageLockedHostMemory<byte>[] _buffers = new CudaPageLockedHostMemory<byte>[BufferCount];
    private readonly CudaEvent[] _copied = new CudaEvent[BufferCount];
    private int _next;
    private bool _finished = true;

    public WeightUploader(CudaContext context, CudaStream stream)
    {
        _context = context;
        _stream = stream;
        try
        {
            for (int i = 0; i < _buffers.Length; i++)
            {
                _owned.Push(_buffers[i] = new CudaPageLockedHostMemory<byte>(context, BufferBytes));
                _owned.Push(_copied[i] = new CudaEvent(context));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Page-locked, until it is disposed of.</summary>
    public static long LockedBytes => (long)BufferCount * BufferBytes;

    public void Copy(DeviceVector vector)
    {
        fixed (float* source = vector.Source)
        {
            Copy((byte*)source, vector.Pointer, (long)vector.Source.Length * sizeof(float));
        }
    }

    /// <exception cref="CudaException">An FP8 weight holds a NaN, which kernels would take for a number.</exception>
    public void Copy(DeviceWeight weight)
    {
        WeightMatrix source = weight.Source;
        DeviceMatrix target = weight.Matrix;
        long scalesPerRow = target.ScalesPerRow;
        long rowBytes = target.Stride + (weight.Format == DeviceFormat.Int8 ? scalesPerRow * sizeof(ushort) : 0);
        int rowsAtOnce = (int)Math.Min(BufferBytes / rowBytes, source.Rows);
        if (rowsAtOnce == 0)
        {
            throw new CudaException($"A row of {source.Columns} columns is too long for the GPU's path.");
        }

        for (int first = 0; first < source.Rows; first += rowsAtOnce)
        {
            int rows = Math.Min(rowsAtOnce, source.Rows - first);
            byte* buffer = NextBuffer();
            byte* scales = buffer + ((long)rowsAtOnce * target.Stride);
            int begin = first;
            try
            {
                Parallel.For(0, rows, r => ConvertRow(source, begin + r, weight.Format, buffer + (r * target.Stride), target.Stride, (Half*)scales + (r * scalesPerRow)));
            }
            catch (AggregateException e) when (e.InnerException is CudaException inner)
            {
                ExceptionDispatchInfo.Throw(inner);
            }

            _stream.CopyToDevice(target.Data + ((ulong)first * target.Stride), buffer, (long)rows * target.Stride);
            if (weight.Format == DeviceFormat.Int8)
            {
                _stream.CopyToDevice(target.Scales + (ulong)(first * scalesPerRow * sizeof(ushort)), scales, rows * scalesPerRow * sizeof(ushort));
            }

            Sent();
        }

        if (weight.Format == DeviceFormat.Float8)
        {
            Copy(source.Scales, target.Scales, weight.ScaleBytes);
        }
    }

    /// <summary>Copies bytes as they are.</summary>
    public void Copy(byte* source, ulong target, long bytes)
    {
        for (long done = 0; done < bytes; done += BufferBytes)
        {
            long count = Math.Min(BufferBytes, bytes - done);
            byte* buffer = NextBuffer();
            Unsafe.CopyBlockUnaligned(buffer, source + done, (uint)count);
            _stream.CopyToDevice(target + (ulong)done, buffer, count);
            Sent();
        }
    }

    /// <summary>Waits for the copies.</summary>
    public void Finish()
    {
        _stream.Synchronize();
        _finished = true;
    }

    /// <summary>
    /// The copies read the buffers, so these go when those have run; a lost GPU runs nothing. After <see cref="Finish"/> nothing is asked here that could
    /// fail, so that what fails here does while another failure is under way, and only the context remembers it.
    /// </summary>
    public void Dispose()
    {
        try
        {
            if (!_finished && !_context.IsLost)
            {
                _stream.Synchronize();
            }
        }
        catch (CudaException)
        {
            // Everything is given back all the same.
        }

        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    /// <summary>Writes one row in the device's format; the padding is zero.</summary>
    private static void ConvertRow(in WeightMatrix source, int row, DeviceFormat format, byte* target, uint stride, Half* scales)
    {
        byte* stored = source.Data + (row * source.RowBytes);
        long bytes = (long)source.Columns * format.ValueBytes();
        new Span<byte>(target + bytes, (int)(stride - bytes)).Clear();
        if (format == DeviceFormat.Int8)
        {
            Int8Rows.Round(source, row, (sbyte*)target, scales);
        }
        else if (format == DeviceFormat.Float32 && source.Format != WeightFormat.Float32)
        {
            var decoded = new double[source.Columns];
            ReferenceLinear.DecodeRow(source, row, decoded);
            for (int c = 0; c < decoded.Length; c++)
            {
                ((float*)target)[c] = (float)decoded[c];
            }
        }
        else
        {
            var values = new ReadOnlySpan<byte>(stored, (int)bytes);
            if (format == DeviceFormat.Float8 && values.IndexOfAny((byte)0x7F, (byte)0xFF) is >= 0 and int at)
            {
                throw new CudaException($"An FP8 weight holds a NaN at row {row}, column {at}. The file is damaged: `kimi verify` tells more.");
            }

            values.CopyTo(new Span<byte>(target, (int)bytes));
        }
    }

    /// <summary>A buffer whose last copy is done.</summary>
    private byte* NextBuffer()
    {
        _finished = false;
        _next ^= 1;
        _copied[_next].Synchronize();
        return _buffers[_next].Pointer;
    }

    private void Sent()
    {
        _copied[_next].Record(_stream);
        _stream.SendOff();
    }
}
