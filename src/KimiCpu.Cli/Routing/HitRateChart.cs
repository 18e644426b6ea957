// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security;
using System.Text;

namespace KimiCpu.Cli.Routing;

/// <summary>Hit rate over the share of experts that are resident, a line for each policy, as SVG.</summary>
internal static class HitRateChart
{
    private const int Left = 64;
    private const int Top = 56;
    private const int PlotWidth = 520;
    private const int PlotHeight = 360;
    private const int LegendWidth = 150;

    private static readonly string[] s_colours = ["#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#4a5568"];

    public static string Draw(string title, IReadOnlyList<SimulationResult> results)
    {
        int width = Left + PlotWidth + LegendWidth;
        int height = Top + PlotHeight + 56;
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n");
        svg.Append("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"12\" y=\"24\" font-size=\"15\">{SecurityElement.Escape(title)}</text>\n");
        for (int tenth = 0; tenth <= 10; tenth += 2)
        {
            (double x, double y) = Place(tenth / 10.0, tenth / 10.0);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{x:F1}\" y1=\"{Top}\" x2=\"{x:F1}\" y2=\"{Top + PlotHeight}\" stroke=\"#ddd\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Left}\" y1=\"{y:F1}\" x2=\"{Left + PlotWidth}\" y2=\"{y:F1}\" stroke=\"#ddd\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x:F1}\" y=\"{Top + PlotHeight + 18}\" text-anchor=\"middle\" fill=\"#555\">{tenth * 10} %</text>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left - 8}\" y=\"{y + 4:F1}\" text-anchor=\"end\" fill=\"#555\">{tenth * 10} %</text>\n");
        }

        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left + (PlotWidth / 2)}\" y=\"{height - 14}\" text-anchor=\"middle\" fill=\"#333\">experts that are resident</text>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left}\" y=\"{Top - 12}\" fill=\"#333\">hit rate</text>\n");
        (double endX, double endY) = Place(1, 1);
        svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Left}\" y1=\"{Top + PlotHeight}\" x2=\"{endX:F1}\" y2=\"{endY:F1}\" stroke=\"#999\" stroke-dasharray=\"2 4\"/>\n");
        int index = 0;
        foreach (IGrouping<string, SimulationResult> line in results.GroupBy(r => r.Policy))
        {
            bool bound = line.Key == SimulationResult.Belady;
            Draw(svg, line, bound ? "#000" : s_colours[index % s_colours.Length], bound, index);
            index++;
        }

        return svg.Append("</svg>\n").ToString();
    }

    private static void Draw(StringBuilder svg, IGrouping<string, SimulationResult> line, string colour, bool dashed, int index)
    {
        string dashes = dashed ? " stroke-dasharray=\"6 4\"" : "";
        string points = string.Join(' ', line.OrderBy(r => r.ResidentShare).Select(r => Place(r.ResidentShare, r.HitRate)).Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.X:F1},{p.Y:F1}")));
        svg.Append(CultureInfo.InvariantCulture, $"<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n");
        int y = Top + 10 + (index * 22);
        int x = Left + PlotWidth + 16;
        svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{x}\" y1=\"{y}\" x2=\"{x + 24}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x + 32}\" y=\"{y + 4}\" fill=\"#333\">{SecurityElement.Escape(line.Key)}</text>\n");
    }

    private static (double X, double Y) Place(double share, double rate) =>
        (Left + (PlotWidth * Math.Min(share, 1)), Top + (PlotHeight * (1 - rate)));
}
