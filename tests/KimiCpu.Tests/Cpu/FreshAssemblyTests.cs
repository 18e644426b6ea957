// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Faults;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

/// <summary>Tests with a second instance of the library's assembly, in which nothing static is made yet.</summary>
[TestFixture]
internal sealed unsafe partial class FreshAssemblyTests
{
    private const BindingFlags Static = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    private Assembly _cpu = null!;

    [SetUp]
    public void Load() => _cpu = new AssemblyLoadContext("fresh").LoadFromAssemblyPath(typeof(CpuBackend).Assembly.Location);

    [Test]
    public void Without_leave_to_generate_code_none_is_made()
    {
        MethodInfo best = Method(typeof(TileKernel), nameof(TileKernel.Best));
        PropertyInfo made = Fresh(typeof(GeneratedTileKernel)).GetProperty(nameof(GeneratedTileKernel.IsMade), Static)!;
        object kernel = best.Invoke(null, [false])!;
        Assert.That(made.GetValue(null), Is.False);
        Assert.That(kernel.ToString(), Is.EqualTo(TileKernel.Best(allowGeneratedCode: false).ToString()));
        best.Invoke(null, [true]);
        Assert.That(made.GetValue(null), Is.True);
    }

    [Test]
    [Platform("Linux")]
    public void Advice_about_pages_does_without_the_system_library()
    {
        bool asked = false;
        NativeLibrary.SetDllImportResolver(_cpu, (name, _, _) =>
        {
            asked = true;
            throw new DllNotFoundException(name);
        });
        Method(typeof(HugePages), nameof(HugePages.Advise)).Invoke(null, [Pointer.Box(null, typeof(byte*)), HugePages.WorthwhileBytes]);
        Assert.That(asked);
    }

    /// <summary>An application may unload a plugin that has opened a model; the system still knows the handler that it brought.</summary>
    [Test]
    [Platform("Linux")]
    [CancelAfter(60_000)]
    public void The_handler_of_faults_outlives_its_context(CancellationToken cancellationToken)
    {
        nint before = FaultHandler();
        WeakReference context = WatchOnce();
        if (FaultHandler() == before)
        {
            Assert.Ignore("Needs x64 and a system that allows executable memory.");
        }

        while (context.IsAlive && !cancellationToken.IsCancellationRequested)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.That(context.IsAlive, Is.False);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.That(IsExecutable(FaultHandler()));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference WatchOnce()
    {
        var context = new AssemblyLoadContext("plugin", isCollectible: true);
        Type guard = context.LoadFromAssemblyPath(typeof(CpuBackend).Assembly.Location).GetType(typeof(FaultGuard).FullName!, throwOnError: true)!;
        object? watch = guard.GetMethod(nameof(FaultGuard.Watch), Static)!.Invoke(null, [Pointer.Box(null, typeof(byte*)), 0L]);
        (watch as IDisposable)?.Dispose();
        context.Unload();
        return new WeakReference(context);
    }

    /// <summary>What SIGBUS comes to.</summary>
    private static nint FaultHandler()
    {
        const int SignalBus = 7;
        byte* action = stackalloc byte[256];
        Assert.That(GetAction(SignalBus, null, action), Is.Zero);
        return *(nint*)action;
    }

    private static bool IsExecutable(nint address) => File.ReadLines("/proc/self/maps").Any(line =>
    {
        string[] parts = line.Split(' ');
        nint[] range = [.. parts[0].Split('-').Select(end => nint.Parse(end, NumberStyles.HexNumber, CultureInfo.InvariantCulture))];
        return range[0] <= address && address < range[1] && parts[1].Contains('x');
    });

    [LibraryImport("libc", EntryPoint = "sigaction")]
    private static partial int GetAction(int signal, byte* action, byte* old);

    private Type Fresh(Type type) => _cpu.GetType(type.FullName!, throwOnError: true)!;

    private MethodInfo Method(Type type, string name) => Fresh(type).GetMethod(name, Static)!;
}
