// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu;

/// <summary>An application's logger, whose exceptions end neither the opening of a model nor a call: a full drive for logs is no reason to give no answers.</summary>
/// <param name="inner">May throw.</param>
internal sealed class GuardedLogger(ILogger inner) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull
    {
        try
        {
            return inner.BeginScope(state);
        }
        catch (Exception)
        {
            return null;
        }
    }

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return inner.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            return false;
        }
    }

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        try
        {
            inner.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            // There is nobody else to tell.
        }
    }
}
