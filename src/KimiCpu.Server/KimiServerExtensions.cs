// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;
using KimiCpu.Server.OpenAI;
using KimiCpu.Server.OpenAI.Responses;
using KimiCpu.Server.Page;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KimiCpu.Server;

/// <summary>Serves the model of <c>AddKimi</c> over HTTP.</summary>
public static class KimiServerExtensions
{
    private static readonly ConfigurationKeys s_keys = ConfigurationKeys.Of<KimiServerOptions>();

    /// <summary>Registers what <see cref="MapKimi"/> needs. The model is registered with <c>services.AddKimi(…)</c>.</summary>
    /// <param name="services">Where.</param>
    /// <param name="configure">Sets the options; null for the defaults.</param>
    public static IServiceCollection AddKimiServer(this IServiceCollection services, Action<KimiServerOptions>? configure = null) =>
        Add(services, options => options.Configure(configure ?? (_ => { })));

    /// <summary>Registers what <see cref="MapKimi"/> needs, as configuration describes it. The model is registered with <c>services.AddKimi(…)</c>.</summary>
    /// <param name="services">Where.</param>
    /// <param name="section">
    /// Has members of <see cref="KimiServerOptions"/>, by convention the section <c>KimiServer</c>; one that is missing means the defaults.
    /// Other keys in it are refused when the host starts; where this is a whole configuration and no section of one, they may be somebody
    /// else's, and are skipped.
    /// </param>
    /// <param name="configure">Changes what was configured; null for nothing.</param>
    public static IServiceCollection AddKimiServer(this IServiceCollection services, IConfiguration section, Action<KimiServerOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(section);
        return Add(services, options => options.Check(s_keys, section, "Kimi server").Bind(section).Configure(configure ?? (_ => { })));
    }

    /// <summary>
    /// Maps <c>/v1/chat/completions</c>, <c>/v1/completions</c>, <c>/v1/responses</c> (OpenAI), <c>/v1/messages</c>,
    /// <c>/v1/messages/count_tokens</c> (Anthropic), <c>/v1/models</c> (both), <c>/api/chat</c>, <c>/api/generate</c>, <c>/api/tags</c>,
    /// <c>/api/ps</c>, <c>/api/show</c>, <c>/api/version</c> (Ollama), <c>/tokenize</c>, <c>/detokenize</c>, <c>/health</c> and <c>/ready</c>.
    /// </summary>
    /// <param name="endpoints">Where; the routes of a group get its prefix.</param>
    /// <remarks>Other methods at these paths get status 405; <see cref="MapKimiFallback"/> answers other paths.</remarks>
    /// <returns>For conventions of all these endpoints.</returns>
    public static IEndpointConventionBuilder MapKimi(this IEndpointRouteBuilder endpoints)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        IServiceProvider services = endpoints.ServiceProvider;
        ServedModel model = services.GetService<ServedModel>() ?? throw new InvalidOperationException("Call services.AddKimiServer(…) before MapKimi.");
        RequestGate gate = services.GetRequiredService<RequestGate>();
        ServerEnd end = services.GetRequiredService<ServerEnd>();
        KimiServerOptions options = services.GetRequiredService<IOptions<KimiServerOptions>>().Value;
        RouteGroupBuilder group = endpoints.MapGroup("");
        var routes = new RouteMap(group, gate);
        StatusEndpoints.Map(routes, model, end);
        ModelEndpoints.Map(routes, model);
        OpenAIEndpoints.Map(routes, model, options);
        ResponsesEndpoints.Map(routes, model, options);
        TokenEndpoints.Map(routes, model, options);
        AnthropicEndpoints.Map(routes, model, options);
        OllamaEndpoints.Map(routes, model, options);
        routes.RefuseOtherMethods();
        return group;
    }

    /// <summary>
    /// Maps <c>/</c>, a page to chat with the model and to watch it work, and what the page asks for under <c>/kimi/</c>. It asks the
    /// endpoints of <see cref="MapKimi"/> at the same prefix. Its files come with the package; nothing is loaded from elsewhere.
    /// </summary>
    /// <param name="endpoints">Where; the routes of a group get its prefix.</param>
    /// <returns>For conventions of all these endpoints.</returns>
    public static IEndpointConventionBuilder MapKimiPage(this IEndpointRouteBuilder endpoints)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        IServiceProvider services = endpoints.ServiceProvider;
        ServedModel model = services.GetService<ServedModel>() ?? throw new InvalidOperationException("Call services.AddKimiServer(…) before MapKimiPage.");
        RouteGroupBuilder group = endpoints.MapGroup("");
        var routes = new RouteMap(group, services.GetRequiredService<RequestGate>());
        PageEndpoints.Map(routes, model);
        routes.RefuseOtherMethods();
        return group;
    }

    /// <summary>
    /// Answers every request that no other endpoint matches with status 404, in the form of the interface that its path means, and with
    /// the routes that there are. For applications that serve nothing else; without it, ASP.NET Core answers with an empty body.
    /// </summary>
    /// <param name="endpoints">Where; of a group, what begins with its prefix.</param>
    /// <returns>For conventions of this endpoint.</returns>
    public static IEndpointConventionBuilder MapKimiFallback(this IEndpointRouteBuilder endpoints)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        RequestGate gate = endpoints.ServiceProvider.GetService<RequestGate>() ?? throw new InvalidOperationException("Call services.AddKimiServer(…) before MapKimiFallback.");
        return UnknownRoutes.Map(endpoints, gate);
    }

    private static IServiceCollection Add(IServiceCollection services, Action<OptionsBuilder<KimiServerOptions>> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddRouting();
        configure(services.AddOptions<KimiServerOptions>().ValidateOnStart());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<KimiServerOptions>, ServerOptionsValidator>());
        services.TryAddSingleton(s => new ServerEnd(
            s.GetRequiredService<IHostApplicationLifetime>(), s.GetRequiredService<IOptions<KimiServerOptions>>(), s.GetRequiredService<IOptions<HostOptions>>()));
        services.TryAddSingleton(_ => new SchemaTurns());
        services.TryAddSingleton(_ => new AnswerMemory());
        services.TryAddSingleton(s => new ServedModel(
            s.GetService<ModelHost>() ?? throw new InvalidOperationException("No model is registered. Call services.AddKimi(…) beside AddKimiServer."),
            s.GetRequiredService<IOptions<KimiServerOptions>>(),
            s.GetRequiredService<SchemaTurns>(),
            s.GetRequiredService<AnswerMemory>()));
        services.TryAddSingleton(s => new RequestGate(
            s.GetRequiredService<IOptions<KimiServerOptions>>(), s.GetRequiredService<ServerEnd>(), s.GetRequiredService<ILoggerFactory>()));
        return services;
    }
}
