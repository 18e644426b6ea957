// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>
/// Registers a model with the services, as singletons: <see cref="IKimiModel"/>, <see cref="KimiChatClient"/>, and
/// <see cref="IChatClient"/> where none is registered yet. Clients can be resolved while the model is still being opened, and their
/// calls wait for it; resolving <see cref="IKimiModel"/> itself waits at once. The services dispose of the model.
/// </summary>
public static class KimiServiceCollectionExtensions
{
    private static readonly ConfigurationKeys s_keys = ConfigurationKeys.Of<KimiOptions>();

    /// <summary>Registers a model.</summary>
    /// <param name="services">Where.</param>
    /// <param name="configure">Sets the options; <see cref="KimiOptions.ModelPath"/> or <see cref="KimiOptions.Embedded"/> at least.</param>
    public static IServiceCollection AddKimi(this IServiceCollection services, Action<KimiOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, key: null, options => options.Configure(configure));
    }

    /// <summary>Registers a model that configuration describes.</summary>
    /// <param name="services">Where.</param>
    /// <param name="section">
    /// Has the members of <see cref="KimiOptions"/>, by convention the section <c>Kimi</c>. Other keys in it are refused when the host
    /// starts; where this is a whole configuration and no section of one, they may be somebody else's, and are skipped, and so is a section in it.
    /// </param>
    /// <param name="configure">Changes what was configured; null for nothing.</param>
    public static IServiceCollection AddKimi(this IServiceCollection services, IConfiguration section, Action<KimiOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(section);
        return Add(services, key: null, options => options.Check(s_keys, section, "Kimi").Bind(section).Configure(configure ?? (_ => { })), section);
    }

    /// <summary>Registers a model under a key, beside others.</summary>
    /// <param name="services">Where.</param>
    /// <param name="serviceKey">Key of all its services, and name of its options.</param>
    /// <param name="configure">Sets the options; <see cref="KimiOptions.ModelPath"/> or <see cref="KimiOptions.Embedded"/> at least.</param>
    public static IServiceCollection AddKeyedKimi(this IServiceCollection services, string serviceKey, Action<KimiOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, serviceKey, options => options.Configure(configure));
    }

    /// <summary>Registers a model that configuration describes under a key, beside others.</summary>
    /// <param name="services">Where.</param>
    /// <param name="serviceKey">Key of all its services, and name of its options.</param>
    /// <param name="section">Has the members of <see cref="KimiOptions"/>, and no others.</param>
    /// <param name="configure">Changes what was configured; null for nothing.</param>
    public static IServiceCollection AddKeyedKimi(this IServiceCollection services, string serviceKey, IConfiguration section, Action<KimiOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        ArgumentNullException.ThrowIfNull(section);
        return Add(services, serviceKey, options => options.Check(s_keys, section, "Kimi").Bind(section).Configure(configure ?? (_ => { })), section);
    }

    /// <summary>
    /// Checks that the model of <c>AddKimi</c> is open. While it is being opened, and where it could not be, the check has its
    /// failure status; a model that nobody has asked for yet is healthy. Half a minute after a failed opening the check begins another one,
    /// since calls may be kept away until it is healthy.
    /// </summary>
    /// <param name="builder">The health checks.</param>
    /// <param name="name">Of the check.</param>
    /// <param name="serviceKey">Of the model; null for the one without a key.</param>
    /// <param name="failureStatus">Null for unhealthy.</param>
    /// <param name="tags">Of the check.</param>
    public static IHealthChecksBuilder AddKimi(this IHealthChecksBuilder builder, string name = "kimi", string? serviceKey = null, HealthStatus? failureStatus = null, IEnumerable<string>? tags = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Add(new HealthCheckRegistration(name, services => new ModelHealthCheck(services.GetRequiredKeyedService<ModelHost>(serviceKey)), failureStatus, tags));
    }

    private static IServiceCollection Add(IServiceCollection services, string? key, Action<OptionsBuilder<KimiOptions>> configure, IConfiguration? configuration = null)
    {
        if (services.Any(s => s.ServiceType == typeof(ModelHost) && Equals(s.ServiceKey, key)))
        {
            throw new InvalidOperationException(key is null
                ? "AddKimi was called before. Register further models with AddKeyedKimi."
                : $"A model is registered with the key '{key}' already.");
        }

        string name = key ?? Options.Options.DefaultName;
        configure(services.AddOptions<KimiOptions>(name).ValidateOnStart());
        string place = key is not null ? $"Kimi model '{key}'" : configuration is IConfigurationSection section ? section.Path : "Kimi";
        services.AddSingleton<IValidateOptions<KimiOptions>>(new KimiOptionsValidator(name, place));
        if (configuration is not null)
        {
            services.AddSingleton<IValidateOptions<KimiOptions>>(new KimiSectionValidator(name, configuration));
        }

        services.AddKeyedSingleton(key, (s, _) => new ModelHost(s.GetRequiredService<IOptionsMonitor<KimiOptions>>(), s.GetRequiredService<IOptionsMonitorCache<KimiOptions>>(), name, s.GetService<ILoggerFactory>()));
        services.AddSingleton<IHostedService>(s => s.GetRequiredKeyedService<ModelHost>(key));
        services.AddKeyedSingleton(key, (s, _) => s.GetRequiredKeyedService<ModelHost>(key).OpenAsync(CancellationToken.None).GetAwaiter().GetResult());
        services.AddKeyedSingleton(key, (s, _) => MakeClient(s.GetRequiredKeyedService<ModelHost>(key)));
        services.TryAddKeyedSingleton<IChatClient>(key, (s, _) => s.GetRequiredKeyedService<KimiChatClient>(key));
        return services;
    }

    private static KimiChatClient MakeClient(ModelHost host) => new(() => host.ModelName, host.OpenAsync, owned: null);
}
