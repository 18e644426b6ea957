// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ComponentModel;
using System.Data;
using System.Globalization;
using Microsoft.Extensions.AI;

namespace KimiCpu.Samples.Agent;

/// <summary>Functions of this process that the model may call. Their names are those that kimi-nano was trained with.</summary>
public static class LocalTools
{
    /// <param name="timers">Keep the timers that the model sets.</param>
    public static IEnumerable<AIFunction> All(Timers timers) =>
    [
        AIFunctionFactory.Create(Calculate, "calculator", "Evaluate an arithmetic expression."),
        AIFunctionFactory.Create(WorldClock.TimeIn, "get_time", "Get the current time in a city."),
        AIFunctionFactory.Create(timers.Set, "set_timer", "Set a timer."),
    ];

    /// <summary>The value of sums, products and the like.</summary>
    /// <exception cref="ArgumentException">It is no arithmetic.</exception>
    public static string Calculate([Description("The expression")] string expression)
    {
        try
        {
            using var table = new DataTable { Locale = CultureInfo.InvariantCulture };
            return Convert.ToString(table.Compute(expression, ""), CultureInfo.InvariantCulture)!;
        }
        catch (Exception e) when (e is InvalidExpressionException or OverflowException or DivideByZeroException)
        {
            throw new ArgumentException($"'{expression}' cannot be calculated: {e.Message}", nameof(expression), e);
        }
    }
}
