// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

[TestFixture]
internal sealed class KimiMessageTests
{
    [Test]
    public void Null_is_refused_where_a_message_is_made()
    {
        Assert.That(() => KimiMessage.System(null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.User(null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.Assistant(null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.Tool("f:0", null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.Tool(null!, "r"), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("toolCallId"));
    }
}
