// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

[TestFixture]
internal sealed class CallCounterTests
{
    [TestCase(0, "")]
    [TestCase(1, "functions.f:0")]
    [TestCase(2, "functions.f:1 functions.f:0")]
    [TestCase(2, "call_a call_b")]
    [TestCase(6, "functions.f:5", Description = "The beginning of the conversation was left out.")]
    [TestCase(6, "functions.f:5 call_a")]
    [TestCase(3, "functions.f:1 functions.f:1 functions.f:1")]
    [TestCase(1, "functions.g:5", Description = "Of another tool than the call's, so it says nothing.")]
    [TestCase(1, "functions.f:")]
    [TestCase(1, "functions.f:-7")]
    [TestCase(1, "functions.f:2147483647")]
    [TestCase(1, "functions.f:99999999999999999999")]
    public void The_next_call_comes_behind_all_others(int next, string ids)
    {
        Assert.That(Count(new CallCounter(), ids), Is.EqualTo(next));
        Assert.That(Count(new CallCounter(rewrites: true), ids), Is.EqualTo(Split(ids).Length), "where ids are rewritten only their number counts");
    }

    private static int Count(CallCounter counter, string ids)
    {
        foreach (string id in Split(ids))
        {
            counter.Add(new KimiToolCall(id, "f", "{}"));
        }

        return counter.Next;
    }

    private static string[] Split(string ids) => ids.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
