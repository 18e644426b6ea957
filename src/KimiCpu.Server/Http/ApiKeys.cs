// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Http;

/// <summary>Compares keys in a time that tells nothing about them: by their hashes, with all keys, always to the end.</summary>
/// <param name="keys">The valid ones; none for no check.</param>
internal sealed class ApiKeys(IEnumerable<string> keys)
{
    private const string Bearer = "Bearer ";

    private readonly byte[][] _hashes = [.. keys.Select(Hash)];

    /// <exception cref="RequestException">A key is needed, and the request has none or another.</exception>
    public void Check(HttpRequest request)
    {
        if (_hashes.Length == 0)
        {
            return;
        }

        string[] given = [.. KeysOf(request)];
        if (given.Length == 0)
        {
            throw new RequestException(StatusCodes.Status401Unauthorized, "This server asks for an API key: Authorization: Bearer KEY, or x-api-key: KEY.", code: "missing_api_key");
        }

        bool known = false;
        foreach (byte[] hash in given.Select(Hash))
        {
            foreach (byte[] valid in _hashes)
            {
                known |= CryptographicOperations.FixedTimeEquals(hash, valid);
            }
        }

        if (!known)
        {
            throw new RequestException(StatusCodes.Status401Unauthorized, "The API key is not one of this server's.", code: "invalid_api_key");
        }
    }

    /// <summary>Anthropic's clients send both where both are set, and one of them may be meant for another server.</summary>
    private static IEnumerable<string> KeysOf(HttpRequest request)
    {
        string? authorization = request.Headers.Authorization;
        if (authorization?.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase) == true)
        {
            yield return authorization[Bearer.Length..].Trim();
        }

        if (request.Headers.TryGetValue("x-api-key", out var key))
        {
            yield return key.ToString().Trim();
        }
    }

    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}
