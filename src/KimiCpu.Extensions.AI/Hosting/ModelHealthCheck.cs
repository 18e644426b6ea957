// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>
/// Healthy where the model answers calls, or where nobody has asked for it yet; the registration's failure status while it
/// is being opened, after it could not be, from which it is tried again once in a while, and where it can run no call any more.
/// </summary>
internal sealed class ModelHealthCheck : IHealthCheck
{
    private readonly ModelHost _host;

    /// <param name="host">Opens the model.</param>
    public ModelHealthCheck(ModelHost host) => _host = host;

    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        _host.IsReadyForCalls(out ModelState state);
        var data = new Dictionary<string, object> { ["state"] = $"{state}" };
        switch (state)
        {
            case ModelState.Ready or ModelState.Lost:
                IKimiModel model = await _host.OpenAsync(cancellationToken).ConfigureAwait(false);
                data["model"] = model.Info.Name;
                data["placement"] = model.Placement;
                return model.Activity.Failure is { } failure
                    ? new HealthCheckResult(context.Registration.FailureStatus, failure, data: data)
                    : HealthCheckResult.Healthy($"{model.Info.Name} is open.", data);
            case ModelState.Closed:
                return HealthCheckResult.Healthy("The model is opened by the first call.", data);
            case ModelState.Opening:
                string progress = _host.Progress is { } p ? $": {p.Phase} {p.Done} of {p.Total}" : "";
                return new HealthCheckResult(context.Registration.FailureStatus, $"The model is being opened{progress}.", data: data);
            default:
                return new HealthCheckResult(context.Registration.FailureStatus, $"The model could not be opened: {_host.Error?.Message}", _host.Error, data);
        }
    }
}
