// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security;
using System.Text;

namespace KimiCpu.Cli.Bench;

/// <summary>Bars of each kernel's share of the ceiling that binds it, as SVG.</summary>
internal static class RooflineChart
{
    private const int LabelWidth = 330;
    private const int BarWidth = 420;
    private const int RowHeight = 26;
    private const int Top = 56;

    public static string Draw(string machine, IReadOnlyList<RooflineResult> results)
    {
        int height = Top + (results.Count * RowHeight) + 40;
        int width = LabelWidth + BarWidth + 130;
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n");
        svg.Append("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"12\" y=\"24\" font-size=\"15\">Share of the measured bound per kernel: {SecurityElement.Escape(machine)}</text>\n");
        for (int tenth = 0; tenth <= 10; tenth += 2)
        {
            int x = LabelWidth + (BarWidth * tenth / 10);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{x}\" y1=\"{Top - 6}\" x2=\"{x}\" y2=\"{height - 34}\" stroke=\"#ccc\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x}\" y=\"{height - 16}\" text-anchor=\"middle\" fill=\"#555\">{tenth / 10.0:F1}</text>\n");
        }

        for (int i = 0; i < results.Count; i++)
        {
            RooflineResult result = results[i];
            int y = Top + (i * RowHeight);
            double bar = BarWidth * Math.Clamp(result.Share, 0, 1.2);
            string bound = result.IsMemoryBound ? "memory" : "arithmetic";
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{LabelWidth - 8}\" y=\"{y + 15}\" text-anchor=\"end\">{SecurityElement.Escape(result.Kernel)}</text>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{LabelWidth}\" y=\"{y + 2}\" width=\"{bar:F1}\" height=\"{RowHeight - 8}\" fill=\"{(result.IsMemoryBound ? "#2b6cb0" : "#c05621")}\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{LabelWidth + bar + 6:F1}\" y=\"{y + 15}\" fill=\"#333\">{result.Share:F2} {bound}</text>\n");
        }

        return svg.Append("</svg>\n").ToString();
    }
}
