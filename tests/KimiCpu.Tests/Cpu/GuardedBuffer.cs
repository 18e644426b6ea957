// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Tests.Cpu;

/// <summary>
/// Bytes that end exactly at a page which must not be touched, at any alignment: reading one byte too far ends the
/// process. Without page protection (not on Linux) an ordinary block.
/// </summary>
internal sealed unsafe partial class GuardedBuffer : IDisposable
{
    private const int PageBytes = 4096;
    private const int ReadWrite = 3;
    private const int PrivateAnonymous = 0x22;

    private readonly byte* _mapping;
    private readonly nuint _mapped;

    public GuardedBuffer(int length)
    {
        Length = length;
        int pages = (length + PageBytes - 1) / PageBytes;
        _mapped = (nuint)(pages + 1) * PageBytes;
        if (!OperatingSystem.IsLinux())
        {
            _mapping = (byte*)NativeMemory.AllocZeroed(_mapped);
            Pointer = _mapping;
            return;
        }

        _mapping = Map(null, _mapped, ReadWrite, PrivateAnonymous, -1, 0);
        Assert.That((nint)_mapping, Is.Not.EqualTo((nint)(-1)));
        Assert.That(Protect(_mapping + (pages * PageBytes), PageBytes, 0), Is.Zero);
        Pointer = _mapping + (pages * PageBytes) - length;
    }

    public byte* Pointer { get; }

    public int Length { get; }

    public Span<byte> Span => new(Pointer, Length);

    public void Dispose()
    {
        if (OperatingSystem.IsLinux())
        {
            Assert.That(Unmap(_mapping, _mapped), Is.Zero);
        }
        else
        {
            NativeMemory.Free(_mapping);
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial byte* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(void* address, nuint length);
}
