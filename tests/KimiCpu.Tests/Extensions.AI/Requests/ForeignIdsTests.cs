// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;

namespace KimiCpu.Tests.Extensions.AI.Requests;

/// <summary>Results find the calls that they answer, whatever ids there are.</summary>
[TestFixture]
internal sealed class ForeignIdsTests
{
    [Test]
    public void A_result_answers_the_call_of_its_id()
    {
        ForeignIds ids = Called("call_a", "call_b");
        Assert.That((ids.Answered("call_b"), ids.Answered("call_a"), ids.Answered("call_a")), Is.EqualTo(("functions.get_time:1", "functions.get_weather:0", (string?)null)));
    }

    [Test]
    public void A_result_without_an_id_answers_the_next_call_of_its_tool_or_of_all()
    {
        ForeignIds ids = Called("", "functions.get_time:1");
        Assert.That((ids.AnsweredNext("get_time"), ids.AnsweredNext("get_time"), ids.AnsweredNext(null)), Is.EqualTo(("functions.get_time:1", "functions.get_weather:0", (string?)null)));
        ids = Called("", "");
        Assert.That((ids.AnsweredNext(null), ids.AnsweredNext(null)), Is.EqualTo(("functions.get_weather:0", "functions.get_time:1")));
    }

    /// <summary>Who was interrupted leaves a call without a result, and many clients count each turn's calls anew.</summary>
    [Test]
    public void A_result_answers_no_call_of_an_earlier_turn_while_the_latest_has_one()
    {
        ForeignIds ids = Called("call_0", "call_1");
        ids.Called([new KimiToolCall("call_0", "get_weather", "{}"), new KimiToolCall("call_0", "get_weather", "{}")]);
        Assert.That((ids.Answered("call_0"), ids.Answered("call_1"), ids.Answered("call_0")), Is.EqualTo(("functions.get_weather:2", "functions.get_time:1", "functions.get_weather:3")));
        Assert.That(ids.Answered("call_0"), Is.EqualTo("functions.get_weather:0"));
        Assert.That(ids.HasOpen, Is.False);
        ids = Called("", "");
        ids.Called([new KimiToolCall("", "get_weather", "{}")]);
        Assert.That((ids.AnsweredNext("get_weather"), ids.AnsweredNext("get_weather")), Is.EqualTo(("functions.get_weather:2", "functions.get_weather:0")));
    }

    /// <summary>The conversation's first calls are gone, and what is left begins with the sixth.</summary>
    [Test]
    public void An_id_that_is_made_is_not_there_already()
    {
        var ids = new ForeignIds();
        string[] given = ["functions.f:5", "call_a", "call_b", "functions.f:2", "call_c"];
        Assert.That(ids.Called(given.Select(id => new KimiToolCall(id, "f", "{}"))).Select(c => c.Id), Is.EqualTo(new[] { "functions.f:5", "functions.f:6", "functions.f:7", "functions.f:2", "functions.f:8" }));
    }

    private static ForeignIds Called(string weather, string time)
    {
        var ids = new ForeignIds();
        ids.Called([new KimiToolCall(weather, "get_weather", "{}"), new KimiToolCall(time, "get_time", "{}")]);
        return ids;
    }
}
