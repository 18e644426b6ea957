// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Chat;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;

namespace KimiCpu.Tests.Server.Http;

[TestFixture]
internal sealed class RequestExceptionTests
{
    [Test]
    public void What_the_library_refuses_is_the_callers_to_change() =>
        Assert.That(Of(() => _ = new KimiTool("f", null, "[]"))!.Status, Is.EqualTo(400));

    /// <summary>The caller would be told of a mistake that he has not made, and the log would not know where it was thrown.</summary>
    [Test]
    public void What_NET_throws_of_the_same_types_is_the_servers_failure()
    {
        Assert.That(Of(() => _ = new List<int>(-1)), Is.Null, "out of range");
        Assert.That(Of(() => _ = new Dictionary<string, int> { { "a", 1 }, { "a", 2 } }), Is.Null, "twice");
        Assert.That(Of(() => _ = int.Parse("x", CultureInfo.InvariantCulture)), Is.Null, "no number");
        Assert.That(Of(() => Stream.Synchronized(new MemoryStream([], writable: false)).SetLength(1)), Is.Null, "not supported");
    }

    private static RequestException? Of(Action act) => RequestException.Of(Caught(act), OpenAIDialect.Instance);

    private static Exception Caught(Action act)
    {
        try
        {
            act();
        }
        catch (Exception e)
        {
            return e;
        }

        throw new InvalidOperationException("It throws nothing.");
    }
}
