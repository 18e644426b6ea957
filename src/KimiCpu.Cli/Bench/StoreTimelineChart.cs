// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security;
using System.Text;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>Reads, computing and waiting beside each other over a few seconds, as SVG.</summary>
internal static class StoreTimelineChart
{
    private const int Left = 150;
    private const int PlotWidth = 900;
    private const int LaneHeight = 18;
    private const int Top = 56;

    private static readonly (ReadUrgency Urgency, string Words, string Colour)[] s_kinds =
    [
        (ReadUrgency.Needed, "read, a step waits for it", "#c05621"),
        (ReadUrgency.Expected, "read ahead", "#2f855a"),
        (ReadUrgency.Warming, "read to fill free slots", "#a0aec0"),
    ];

    /// <param name="title">What was measured.</param>
    /// <param name="timeline">Of it.</param>
    /// <param name="seconds">Shown from the end of the recording backwards.</param>
    public static string Draw(string title, StoreTimeline timeline, double seconds)
    {
        double first = Math.Max(0, timeline.Seconds - seconds);
        double span = timeline.Seconds - first;
        List<List<(TimeSpanOf Time, ReadUrgency Urgency)>> lanes = Lanes(timeline.Reads.Where(r => r.Time.End > first));
        int height = Top + ((lanes.Count + 1) * LaneHeight) + 76;
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Left + PlotWidth + 20} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"12\" y=\"24\" font-size=\"15\">{SecurityElement.Escape(title)}</text>\n");

        // Steps compute whenever they do not wait.
        Label("steps", 0);
        Box(new TimeSpanOf(first, timeline.Seconds), 0, "#2b6cb0");
        foreach (TimeSpanOf wait in timeline.Waits.Where(w => w.End > first))
        {
            Box(wait, 0, "#e2e8f0");
        }

        for (int lane = 0; lane < lanes.Count; lane++)
        {
            Label($"read in flight {lane + 1}", lane + 1);
            foreach ((TimeSpanOf time, ReadUrgency urgency) in lanes[lane])
            {
                Box(time, lane + 1, s_kinds.First(k => k.Urgency == urgency).Colour);
            }
        }

        int axis = Top + ((lanes.Count + 1) * LaneHeight) + 14;
        for (int tick = 0; tick <= 10; tick += 2)
        {
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left + (PlotWidth * tick / 10)}\" y=\"{axis}\" text-anchor=\"middle\" fill=\"#555\">{span * tick / 10:F2} s</text>\n");
        }

        int x = Left;
        foreach ((string words, string colour) in s_kinds.Take(2).Select(k => (k.Words, k.Colour)).Prepend(("waiting", "#e2e8f0")).Prepend(("computing", "#2b6cb0")))
        {
            svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{x}\" y=\"{axis + 18}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{x + 18}\" y=\"{axis + 28}\">{words}</text>\n");
            x += 60 + (7 * words.Length);
        }

        return svg.Append("</svg>\n").ToString();

        void Label(string text, int lane) =>
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left - 8}\" y=\"{Top + (lane * LaneHeight) + 12}\" text-anchor=\"end\">{text}</text>\n");

        void Box(TimeSpanOf time, int lane, string colour)
        {
            double begin = Math.Max(0, (time.Start - first) / span * PlotWidth);
            double end = Math.Min(PlotWidth, (time.End - first) / span * PlotWidth);
            svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{Left + begin:F2}\" y=\"{Top + (lane * LaneHeight)}\" width=\"{Math.Max(0.1, end - begin):F2}\" height=\"{LaneHeight - 4}\" fill=\"{colour}\"/>\n");
        }
    }

    /// <summary>Reads that overlap go to different lanes.</summary>
    private static List<List<(TimeSpanOf Time, ReadUrgency Urgency)>> Lanes(IEnumerable<(TimeSpanOf Time, ReadUrgency Urgency)> reads)
    {
        var lanes = new List<List<(TimeSpanOf Time, ReadUrgency Urgency)>>();
        foreach ((TimeSpanOf Time, ReadUrgency Urgency) read in reads.OrderBy(r => r.Time.Start))
        {
            List<(TimeSpanOf Time, ReadUrgency Urgency)>? lane = lanes.Find(l => l[^1].Time.End <= read.Time.Start);
            if (lane is null)
            {
                lanes.Add(lane = []);
            }

            lane.Add(read);
        }

        return lanes;
    }
}
