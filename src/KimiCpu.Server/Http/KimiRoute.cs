// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Http;

/// <summary>Marks an endpoint as one of this server's, among others that an application may have.</summary>
/// <param name="Dialect">The interface that it belongs to.</param>
/// <param name="IsPart">Whether it is a part of another route's page.</param>
internal sealed record KimiRoute(Func<HttpRequest, IDialect> Dialect, bool IsPart);
