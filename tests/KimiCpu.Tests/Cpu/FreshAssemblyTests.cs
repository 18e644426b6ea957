// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

/// <summary>Tests with a second instance of the library's assembly, in which nothing static is made yet.</summary>
[TestFixture]
internal sealed unsafe class FreshAssemblyTests
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

    private Type Fresh(Type type) => _cpu.GetType(type.FullName!, throwOnError: true)!;

    private MethodInfo Method(Type type, string name) => Fresh(type).GetMethod(name, Static)!;
}
