// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Security;
using System.Text;

namespace KimiCpu.Cli.Bench;

/// <summary>Bars of the throughput of answers at once, and of each one's part of it, as SVG.</summary>
internal static class ConcurrencyChart
{
    private const int LabelWidth = 120;
    private const int BarWidth = 520;
    private const int RowHeight = 44;
    private const int Top = 56;

    public static string Draw(string subject, IReadOnlyList<ConcurrencyResult> results)
    {
        int height = Top + (results.Count * RowHeight) + 40;
        int width = LabelWidth + BarWidth + 190;
        double most = results.Max(r => r.Decode);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n");
        svg.Append("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"12\" y=\"24\" font-size=\"15\">Tokens a second of answers at once: {SecurityElement.Escape(subject)}</text>\n");
        for (int i = 0; i < results.Count; i++)
        {
            ConcurrencyResult result = results[i];
            int y = Top + (i * RowHeight);
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{LabelWidth - 8}\" y=\"{y + 22}\" text-anchor=\"end\">{result.Calls} {(result.Calls == 1 ? "answer" : "answers")}</text>\n");
            Bar(y + 2, result.Decode, "#2b6cb0", FormattableString.Invariant($"{result.Decode:F1} together"));
            Bar(y + 20, result.Decode / result.Calls, "#c05621", FormattableString.Invariant($"{result.Decode / result.Calls:F1} each"));
        }

        return svg.Append("</svg>\n").ToString();

        void Bar(int y, double value, string colour, string words)
        {
            double bar = BarWidth * value / most;
            svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{LabelWidth}\" y=\"{y}\" width=\"{bar:F1}\" height=\"15\" fill=\"{colour}\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{LabelWidth + bar + 6:F1}\" y=\"{y + 12}\" fill=\"#333\">{words}</text>\n");
        }
    }
}
