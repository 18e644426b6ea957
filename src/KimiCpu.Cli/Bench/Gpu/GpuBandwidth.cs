// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>What the GPU's memory gives: bytes per second of a kernel that reads and does nothing else, and of a copy.</summary>
internal sealed class GpuBandwidth : IDisposable
{
    /// <summary>A block's part: eight loads of 16 bytes by each of 256 threads.</summary>
    private const int BlockBytes = 32 * 1024;

    private const int Threads = 256;

    private readonly CudaStream _stream;
    private readonly GpuTimer _timer;
    private readonly int _repetitions;
    private readonly CudaModule _module;
    private readonly CudaKernel _read;
    private readonly CudaDeviceVariable<uint> _sink;

    public GpuBandwidth(CudaContext context, CudaStream stream, GpuTimer timer, int repetitions)
    {
        (_stream, _timer, _repetitions) = (stream, timer, repetitions);
        _module = new CudaModule(context, Ptx);
        try
        {
            _read = _module.GetKernel("read_memory", Threads);
            _sink = new CudaDeviceVariable<uint>(context, 1);
        }
        catch
        {
            _module.Dispose();
            throw;
        }
    }

    /// <summary>
    /// All loads of a thread are on their way before the first one is used. The sum is stored where it is one certain number of 2^32,
    /// so that no translator may leave the loads out.
    /// </summary>
    private static ReadOnlySpan<byte> Ptx =>
        """
        .version 7.4
        .target sm_80
        .address_size 64

        .visible .entry read_memory(
        .param .align 8 .b8 read_memory_param_0[16]
        )
        .maxntid 256, 1, 1
        {
        .reg .pred %p<1>;
        .reg .b32 %r<36>;
        .reg .b64 %rd<8>;
        ld.param.u64 %rd0, [read_memory_param_0];
        ld.param.u64 %rd1, [read_memory_param_0+8];
        cvta.to.global.u64 %rd2, %rd0;
        cvta.to.global.u64 %rd3, %rd1;
        mov.u32 %r0, %ctaid.x;
        mov.u32 %r1, %tid.x;
        mul.wide.u32 %rd4, %r0, 32768;
        mul.wide.u32 %rd5, %r1, 16;
        add.s64 %rd6, %rd2, %rd4;
        add.s64 %rd7, %rd6, %rd5;
        ld.global.nc.L1::no_allocate.v4.u32 {%r2,%r3,%r4,%r5}, [%rd7];
        ld.global.nc.L1::no_allocate.v4.u32 {%r6,%r7,%r8,%r9}, [%rd7+4096];
        ld.global.nc.L1::no_allocate.v4.u32 {%r10,%r11,%r12,%r13}, [%rd7+8192];
        ld.global.nc.L1::no_allocate.v4.u32 {%r14,%r15,%r16,%r17}, [%rd7+12288];
        ld.global.nc.L1::no_allocate.v4.u32 {%r18,%r19,%r20,%r21}, [%rd7+16384];
        ld.global.nc.L1::no_allocate.v4.u32 {%r22,%r23,%r24,%r25}, [%rd7+20480];
        ld.global.nc.L1::no_allocate.v4.u32 {%r26,%r27,%r28,%r29}, [%rd7+24576];
        ld.global.nc.L1::no_allocate.v4.u32 {%r30,%r31,%r32,%r33}, [%rd7+28672];
        add.s32 %r2, %r2, %r3;
        add.s32 %r2, %r2, %r4;
        add.s32 %r2, %r2, %r5;
        add.s32 %r6, %r6, %r7;
        add.s32 %r6, %r6, %r8;
        add.s32 %r6, %r6, %r9;
        add.s32 %r10, %r10, %r11;
        add.s32 %r10, %r10, %r12;
        add.s32 %r10, %r10, %r13;
        add.s32 %r14, %r14, %r15;
        add.s32 %r14, %r14, %r16;
        add.s32 %r14, %r14, %r17;
        add.s32 %r18, %r18, %r19;
        add.s32 %r18, %r18, %r20;
        add.s32 %r18, %r18, %r21;
        add.s32 %r22, %r22, %r23;
        add.s32 %r22, %r22, %r24;
        add.s32 %r22, %r22, %r25;
        add.s32 %r26, %r26, %r27;
        add.s32 %r26, %r26, %r28;
        add.s32 %r26, %r26, %r29;
        add.s32 %r30, %r30, %r31;
        add.s32 %r30, %r30, %r32;
        add.s32 %r30, %r30, %r33;
        add.s32 %r2, %r2, %r6;
        add.s32 %r2, %r2, %r10;
        add.s32 %r2, %r2, %r14;
        add.s32 %r2, %r2, %r18;
        add.s32 %r2, %r2, %r22;
        add.s32 %r2, %r2, %r26;
        add.s32 %r2, %r2, %r30;
        setp.ne.s32 %p0, %r2, 1640531527;
        @%p0 bra $L_end;
        st.global.u32 [%rd3], %r2;
        $L_end:
        ret;
        }

        """u8;

    /// <summary>Bytes per second of reading.</summary>
    /// <param name="address">Of the device.</param>
    /// <param name="bytes">More than any second-level cache holds; at least <see cref="BlockBytes"/>.</param>
    public double Read(ulong address, long bytes)
    {
        int blocks = (int)(bytes / BlockBytes);
        var arguments = new ReadArguments { Data = address, Sink = _sink.DevicePointer };
        return blocks * (double)BlockBytes / _timer.Seconds(_repetitions, () => _read.Launch(_stream, blocks, 1, 1, arguments));
    }

    /// <summary>Bytes per second that a copy of the first half to the second reads and writes.</summary>
    public double Copy(ulong address, long bytes)
    {
        long half = bytes / 2 / BlockBytes * BlockBytes;
        return 2.0 * half / _timer.Seconds(_repetitions, () => _stream.Copy(address + (ulong)half, address, half));
    }

    public void Dispose()
    {
        _sink.Dispose();
        _module.Dispose();
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ReadArguments
    {
        public ulong Data;
        public ulong Sink;
    }
}
