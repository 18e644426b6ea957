// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Recordings in little memory: passes of one layer that only clear a number.</summary>
[TestFixture]
internal sealed class RecordingsTests
{
    /// <summary>Passes for which recordings are kept.</summary>
    private const int Rest = 64;

    private const int Layers = 4;

    private SimulatedDriver _driver = null!;
    private CudaContext _context = null!;
    private CudaStream _stream = null!;
    private CudaDeviceVariable<int> _number = null!;
    private Recordings _recordings = null!;
    private List<string> _warnings = null!;

    /// <summary>Whether who is warned leaves the thread a context of its own, as an application may that uses CUDA too.</summary>
    private bool _contextIsLeft;

    /// <summary>Memory for the recordings of one kind of passes, and half of another's.</summary>
    [SetUp]
    public void Open()
    {
        _driver = new SimulatedDriver { TotalBytes = 1 << 20 };
        _context = new CudaContext(_driver.Table, 0);
        _stream = new CudaStream(_context);
        _number = new CudaDeviceVariable<int>(_context, 1);
        _driver.GraphBytes = (_driver.TotalBytes - _driver.DeviceBytes) / (Layers * 3 / 2);
        (_warnings, _contextIsLeft) = ([], false);
        _recordings = new Recordings(_context, _stream, _ => _stream.Clear(_number.DevicePointer, sizeof(int)), Warn);
    }

    [TearDown]
    public void Close()
    {
        _recordings.Dispose();
        _number.Dispose();
        _stream.Dispose();
        _context.Dispose();
        (int live, string? fault) = (_driver.LiveObjects, _driver.Fault);
        _driver.Dispose();
        Assert.That((live, fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    public void What_no_pass_has_used_for_long_makes_room([Values] bool contextIsLeft)
    {
        _contextIsLeft = contextIsLeft;
        Assert.That((Pass(rows: 1), Pass(rows: 2)), Is.EqualTo((Layers, Layers / 2)), "what is left, without a failure");
        Assert.That(Passes(Rest, rows: 2), Is.All.GreaterThanOrEqualTo(Layers / 2));
        Assert.That((Pass(rows: 2), _recordings.Count), Is.EqualTo((Layers, Layers)));
        Assert.That(_driver.CallsOf["cuGraphInstantiateWithFlags"], Is.InRange(Layers * 2, (Layers * 2) + 4), "asked for in vain now and then, not at each pass");
        Assert.That(_warnings, Has.Count.EqualTo(1).And.Some.Contains("launch each kernel by itself"));
    }

    /// <summary>Recording takes longer than launching once, so they would all be slower.</summary>
    [Test]
    public void Passes_that_take_turns_do_not_push_each_other_out()
    {
        for (int i = 0; i < Rest * 3; i++)
        {
            Assert.That((Pass(rows: 1), Pass(rows: 2)), Is.EqualTo((Layers, Layers / 2)));
        }

        Assert.That(_driver.CallsOf["cuGraphInstantiateWithFlags"], Is.InRange(Layers * 3 / 2, Layers * 4), "one more try in so many passes");
    }

    [Test]
    public void Memory_that_is_free_again_is_used()
    {
        Pass(rows: 1);
        Pass(rows: 2);
        _driver.GraphBytes = 0;
        int[] replayed = Passes(Rest + 1, rows: 2);
        Assert.That((replayed[0], replayed[^1], _recordings.Count), Is.EqualTo((Layers / 2, Layers, Layers * 2)));
        Assert.That(Pass(rows: 1), Is.EqualTo(Layers), "nothing was given up for it");
    }

    private void Warn(string warning)
    {
        _warnings.Add(warning);
        _driver.ContextOfThread = _contextIsLeft ? 77 : _driver.ContextOfThread;
    }

    /// <returns>Segments whose recordings were launched.</returns>
    private int Pass(int rows)
    {
        _recordings.BeginPass();
        int replayed = Enumerable.Range(0, Layers).Count(layer => _recordings.TryReplay(new Segment(SegmentKind.Attend, layer, rows, 4)));
        _stream.Synchronize();
        return replayed;
    }

    private int[] Passes(int count, int rows) => [.. Enumerable.Range(0, count).Select(_ => Pass(rows))];
}
