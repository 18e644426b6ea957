// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>What the steps that decoded one call's tokens read from memory.</summary>
internal sealed class DecodeReads
{
    private long _steps;
    private long _bytes;
    private double _share;
    private double _driveShare;

    /// <summary>Mean bytes of a step, whoever else was in it; 0 without steps.</summary>
    public double BytesPerStep => _steps > 0 ? (double)_bytes / _steps : 0;

    /// <summary>Mean bytes of a step that fall to this call; 0 without steps.</summary>
    public double BytesPerToken => _steps > 0 ? _share / _steps : 0;

    /// <summary>Mean bytes of a step from drives that fall to this call; 0 without steps.</summary>
    public double DriveBytesPerToken => _steps > 0 ? _driveShare / _steps : 0;

    /// <param name="bytes">Read from memory in the step.</param>
    /// <param name="driveBytes">Read from drives in the step.</param>
    /// <param name="calls">That were in the step; each bears the same part of it.</param>
    public void Add(long bytes, long driveBytes, int calls)
    {
        _steps++;
        _driveShare += (double)driveBytes / calls;
        _bytes += bytes;
        _share += (double)bytes / calls;
    }

    /// <summary>Bytes per second of all the steps; 0 without a time.</summary>
    public double BytesPerSecond(TimeSpan time) => time > TimeSpan.Zero ? _bytes / time.TotalSeconds : 0;
}
