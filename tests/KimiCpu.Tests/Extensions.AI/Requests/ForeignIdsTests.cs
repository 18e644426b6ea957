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
        Assert.That((ids.Answered("call_b"), ids.Answered("call_a"), ids.Answered("call_a")), Is.EqualTo(("functions.get_time:1", "functions.get_weather:0", "call_a")));
    }

    [Test]
    public void A_result_without_an_id_answers_the_next_call_of_its_tool_or_of_all()
    {
        ForeignIds ids = Called("", "functions.get_time:1");
        Assert.That((ids.AnsweredNext("get_time"), ids.AnsweredNext("get_time"), ids.AnsweredNext(null)), Is.EqualTo(("functions.get_time:1", "functions.get_weather:0", "")));
        ids = Called("", "");
        Assert.That((ids.AnsweredNext(null), ids.AnsweredNext(null)), Is.EqualTo(("functions.get_weather:0", "functions.get_time:1")));
    }

    private static ForeignIds Called(string weather, string time)
    {
        var ids = new ForeignIds();
        ids.Called(new KimiToolCall(weather, "get_weather", "{}"));
        ids.Called(new KimiToolCall(time, "get_time", "{}"));
        return ids;
    }
}
