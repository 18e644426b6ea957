// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ComponentModel;
using System.Globalization;

namespace KimiCpu.Samples.Agent;

/// <summary>Local times by the system's time zones, which are named after cities.</summary>
public static class WorldClock
{
    private static readonly string[] s_areas = ["Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"];

    /// <summary>The time there, such as <c>21:37</c>.</summary>
    /// <exception cref="ArgumentException">No time zone is named after the city.</exception>
    public static string TimeIn([Description("City name")] string city)
    {
        string suffix = "/" + city.Trim().Replace(' ', '_');
        TimeZoneInfo zone = TimeZoneInfo.GetSystemTimeZones().FirstOrDefault(z => z.Id.EndsWith(suffix, StringComparison.OrdinalIgnoreCase))
            ?? (OperatingSystem.IsWindows() ? ByCityOnWindows(suffix) : null)
            ?? throw new ArgumentException($"No time zone is named after '{city}'.", nameof(city));
        return TimeZoneInfo.ConvertTime(DateTimeOffset.UtcNow, zone).ToString("HH:mm", CultureInfo.InvariantCulture);
    }

    /// <summary>Windows lists its zones under names of its own, such as Romance Standard Time, and finds them under others too.</summary>
    private static TimeZoneInfo? ByCityOnWindows(string suffix) =>
        s_areas.Select(area => TimeZoneInfo.TryFindSystemTimeZoneById(area + suffix, out TimeZoneInfo? zone) ? zone : null).FirstOrDefault(zone => zone is not null);
}
