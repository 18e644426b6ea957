// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security;
using System.Text;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Plan;

/// <summary>What lives where as one bar, and tokens per second over memory size as a curve, as SVG.</summary>
internal sealed class PlanChart
{
    private const int Width = 860;
    private const int Left = 70;
    private const int PlotWidth = Width - Left - 40;
    private const int BarTop = 74;
    private const int BarHeight = 40;
    private const int LegendRow = 20;
    private const int CurveHeight = 260;
    private const int CurvePoints = 160;

    private static readonly Dictionary<PlanPlace, string[]> s_colours = new()
    {
        [PlanPlace.Gpu] = ["#276749", "#2f855a", "#38a169", "#48bb78", "#68d391", "#9ae6b4"],
        [PlanPlace.Memory] = ["#2a4365", "#2c5282", "#2b6cb0", "#3182ce", "#4299e1", "#90cdf4"],
        [PlanPlace.Drive] = ["#c05621"],
    };

    private readonly StringBuilder _svg = new();
    private readonly MachinePlan _plan;

    private PlanChart(MachinePlan plan) => _plan = plan;

    public static string Draw(MachinePlan plan) => new PlanChart(plan).Draw();

    private string Draw()
    {
        (PlacedPart Part, string Colour)[] parts = [.. Coloured()];
        int legendTop = BarTop + BarHeight + 26;
        int curveTop = legendTop + ((parts.Length + 1) / 2 * LegendRow) + 40;
        int height = curveTop + CurveHeight + 60;
        Append($"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        Text(Left, 24, $"{_plan.Subject.Name}: what lives where", size: 15);
        DrawBar(parts);
        for (int i = 0; i < parts.Length; i++)
        {
            DrawLegend(parts[i].Part, parts[i].Colour, Left + (i % 2 * PlotWidth / 2), legendTop + (i / 2 * LegendRow));
        }

        DrawCurve(curveTop);
        return _svg.Append("</svg>\n").ToString();
    }

    private IEnumerable<(PlacedPart Part, string Colour)> Coloured()
    {
        foreach (IGrouping<PlanPlace, PlacedPart> place in _plan.Placement.Parts.OrderBy(p => p.Place).GroupBy(p => p.Place))
        {
            // The largest parts stand apart; the others share the last colours.
            string[] colours = s_colours[place.Key];
            PlacedPart[] bySize = [.. place.OrderByDescending(p => p.Bytes)];
            for (int i = 0; i < bySize.Length; i++)
            {
                yield return (bySize[i], colours[Math.Min(i, colours.Length - 1)]);
            }
        }
    }

    private void DrawBar((PlacedPart Part, string Colour)[] parts)
    {
        double total = parts.Sum(p => p.Part.Bytes);
        double x = Left;
        foreach (IGrouping<PlanPlace, (PlacedPart Part, string Colour)> place in parts.GroupBy(p => p.Part.Place))
        {
            double start = x;
            foreach ((PlacedPart part, string colour) in place)
            {
                double width = PlotWidth * part.Bytes / total;
                Append($"<rect class=\"part\" x=\"{x:F2}\" y=\"{BarTop}\" width=\"{width:F2}\" height=\"{BarHeight}\" fill=\"{colour}\"/>\n");
                x += width;
            }

            double bytes = place.Sum(p => p.Part.Bytes);
            Append($"<rect x=\"{start:F2}\" y=\"{BarTop}\" width=\"{x - start:F2}\" height=\"{BarHeight}\" fill=\"none\" stroke=\"white\" stroke-width=\"2\"/>\n");
            string anchor = place.Key == PlanPlace.Drive ? "end" : "start";
            Text(place.Key == PlanPlace.Drive ? x : start, place.Key == PlanPlace.Gpu ? BarTop - 20 : BarTop - 6, $"{PlanWords.Of(place.Key)}{(place.Key == PlanPlace.Gpu ? " (estimate)" : "")} {PlanWords.Gigabytes(bytes)}", anchor);
        }
    }

    private void DrawLegend(PlacedPart part, string colour, int x, int y)
    {
        Append($"<rect x=\"{x}\" y=\"{y - 10}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n");
        Text(x + 18, y, $"{PlanWords.Of(part.Place)}: {part.Name}, {PlanWords.Gigabytes(part.Bytes)}{(part.Format.Length > 0 ? $" ({part.Format})" : "")}");
    }

    private void DrawCurve(int top)
    {
        double most = MostMemory();
        (double Memory, DecodeRange Range)[] points = [.. Points(most)];
        Text(Left, top - 14, "tokens/s over memory size: likely, and from flat routing to the best hits seen", size: 15);
        if (points.Length == 0)
        {
            Text(Left, top + 20, "It does not fit at any size shown.");
            return;
        }

        double highest = NiceStep(points.Max(p => p.Range.High.TokensPerSecond) * 1.15 / 5) * 5;
        double X(double memory) => Left + (PlotWidth * memory / most);
        double Y(double rate) => top + (CurveHeight * (1 - (rate / highest)));
        DrawAxes(top, most, highest, X, Y);
        string upper = Path(points.Select(p => (X(p.Memory), Y(p.Range.High.TokensPerSecond))));
        string lower = Path(points.Reverse().Select(p => (X(p.Memory), Y(p.Range.Low.TokensPerSecond))));
        Append($"<polygon class=\"band\" points=\"{upper} {lower}\" fill=\"#bee3f8\"/>\n");
        Append($"<polyline class=\"likely\" points=\"{Path(points.Select(p => (X(p.Memory), Y(p.Range.Likely.TokensPerSecond))))}\" fill=\"none\" stroke=\"#2b6cb0\" stroke-width=\"2\"/>\n");
        if (_plan.Fits)
        {
            Mark(X(_plan.Machine.MemoryBytes.Value), Y(_plan.Headline.Likely.TokensPerSecond), top);
        }
    }

    private void DrawAxes(int top, double most, double highest, Func<double, double> x, Func<double, double> y)
    {
        for (int i = 0; i <= 5; i++)
        {
            double rate = highest * i / 5;
            Append($"<line x1=\"{Left}\" y1=\"{y(rate):F1}\" x2=\"{Left + PlotWidth}\" y2=\"{y(rate):F1}\" stroke=\"#ddd\"/>\n");
            Text(Left - 8, y(rate) + 4, rate.ToString("0.###", CultureInfo.InvariantCulture), "end", colour: "#555");
        }

        double step = NiceStep(most / 8);
        for (double memory = 0; memory <= most; memory += step)
        {
            Append($"<line x1=\"{x(memory):F1}\" y1=\"{top}\" x2=\"{x(memory):F1}\" y2=\"{top + CurveHeight}\" stroke=\"#eee\"/>\n");
            Text(x(memory), top + CurveHeight + 18, most >= 2e9 ? $"{memory / 1e9:0.#} GB" : $"{memory / 1e6:0} MB", "middle", colour: "#555");
        }

        Text(Left + PlotWidth, top + CurveHeight + 40, $"memory that the process may use; behind {PlanWords.Tokens(_plan.Headline.Context)} tokens", "end", colour: "#555");
    }

    private void Mark(double x, double y, int top)
    {
        bool right = x < Left + (PlotWidth * 0.6);
        Append($"<line x1=\"{x:F1}\" y1=\"{top}\" x2=\"{x:F1}\" y2=\"{top + CurveHeight}\" stroke=\"#c53030\" stroke-dasharray=\"4 3\"/>\n");
        Append($"<circle class=\"machine\" cx=\"{x:F1}\" cy=\"{y:F1}\" r=\"5\" fill=\"#c53030\"/>\n");
        string whose = _plan.Machine.MemoryBytes.Origin == FactOrigin.Measured ? "this machine" : "as given";
        string label = $"{whose}: {PlanWords.Gigabytes(_plan.Machine.MemoryBytes.Value)}, {PlanWords.Rate(_plan.Headline.Likely.TokensPerSecond)} tokens/s";
        Text(right ? x + 9 : x - 9, top + 16, label, right ? "start" : "end", colour: "#c53030");
    }

    /// <summary>Past the point where everything is resident, and past this machine where that is not far more.</summary>
    private double MostMemory()
    {
        double all = _plan.Placement.Parts.Where(p => p.Place != PlanPlace.Gpu).Sum(p => p.Bytes) + _plan.Placement.ReserveBytes;
        return Math.Max(1.25 * all, Math.Min(1.05 * _plan.Machine.MemoryBytes.Value, 4 * all));
    }

    private IEnumerable<(double Memory, DecodeRange Range)> Points(double most)
    {
        for (int i = 1; i <= CurvePoints; i++)
        {
            double memory = most * i / CurvePoints;
            MachinePlan plan = _plan.On(_plan.Machine with { MemoryBytes = Fact.Assumed(memory) });
            if (plan.Fits)
            {
                yield return (memory, plan.Headline);
            }
        }
    }

    /// <summary>A round number, at least the value.</summary>
    private static double NiceStep(double value)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(value)));
        double[] round = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
        double leading = value / power;
        return power * (round.Any(r => r >= leading) ? round.First(r => r >= leading) : 10);
    }

    private static string Path(IEnumerable<(double X, double Y)> points) =>
        string.Join(' ', points.Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.X:F1},{p.Y:F1}")));

    private void Text(double x, double y, FormattableString text, string anchor = "start", int size = 13, string colour = "#222") =>
        Text(x, y, text.ToString(CultureInfo.InvariantCulture), anchor, size, colour);

    private void Text(double x, double y, string text, string anchor = "start", int size = 13, string colour = "#222") =>
        Append($"<text x=\"{x:F1}\" y=\"{y:F1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\">{SecurityElement.Escape(text)}</text>\n");

    private void Append(FormattableString text) => _svg.Append(text.ToString(CultureInfo.InvariantCulture));
}
