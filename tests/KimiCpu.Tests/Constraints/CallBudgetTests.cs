// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Masks;

namespace KimiCpu.Tests.Constraints;

/// <summary>What the tools of one call may cost together.</summary>
[TestFixture]
internal sealed class CallBudgetTests
{
    /// <summary>An application starts many at once, with the same tools.</summary>
    [Test, CancelAfter(60_000)]
    public async Task Calls_that_begin_together_compile_their_schema_once(CancellationToken cancellationToken)
    {
        int compiled = 0;
        var schemas = new ToolSchemas
        {
            Compiler = (parameters, budget) =>
            {
                Interlocked.Increment(ref compiled);

                // Time for others to do so, too.
                SpinWait.SpinUntil(() => Volatile.Read(ref compiled) > 1, 300);
                return KimiConstraint.ToolArguments(parameters, budget);
            },
        };
        JsonElement schema = JsonElement.Parse("""{"properties":{"a":{"type":"null"}}}""");
        KimiConstraint[] found = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Factory.StartNew(
            () => schemas.Get(schema, new CallBudget(cancellationToken)),
            cancellationToken,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)));
        Assert.That(compiled, Is.EqualTo(1));
        Assert.That(found, Is.All.SameAs(found[0]));
    }

    /// <summary>Where the first one gives up, the next one compiles.</summary>
    [Test, CancelAfter(60_000)]
    public async Task Who_waits_for_a_schema_of_another_call_can_give_up_and_go_on_alone(CancellationToken cancellationToken)
    {
        using var first = new CancellationTokenSource();
        using var second = new CancellationTokenSource();
        using var begun = new SemaphoreSlim(0);
        int compiled = 0;
        var schemas = new ToolSchemas
        {
            Compiler = (parameters, budget) =>
            {
                if (Interlocked.Increment(ref compiled) == 1)
                {
                    begun.Release();
                    first.Token.WaitHandle.WaitOne();
                    first.Token.ThrowIfCancellationRequested();
                }

                return KimiConstraint.ToolArguments(parameters, budget);
            },
        };
        JsonElement schema = JsonElement.Parse("""{"properties":{"a":{"type":"null"}}}""");
        Task<KimiConstraint> compiling = Get(first.Token);
        await begun.WaitAsync(cancellationToken);
        Task<KimiConstraint> waiting = Get(second.Token);
        Task<KimiConstraint> last = Get(cancellationToken);
        await second.CancelAsync();
        Assert.That(async () => await waiting, Throws.InstanceOf<OperationCanceledException>());
        Assert.That((compiling.IsCompleted, last.IsCompleted), Is.EqualTo((false, false)));
        await first.CancelAsync();
        Assert.That(async () => await compiling, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(await last, Is.Not.Null);
        Assert.That(compiled, Is.EqualTo(2));

        Task<KimiConstraint> Get(CancellationToken token) =>
            Task.Factory.StartNew(() => schemas.Get(schema, new CallBudget(token)), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>As an agent with several MCP servers sends them.</summary>
    [Test, CancelAfter(180_000)]
    public void As_many_tools_as_a_server_takes_are_within_the_budget(CancellationToken cancellationToken)
    {
        var schemas = new ToolSchemas();
        var budget = new CallBudget(cancellationToken);
        long bytes = 0;
        for (int i = 0; i < 128; i++)
        {
            JsonElement parameters = JsonElement.Parse(LargeTool(i));
            Assert.That(parameters.GetRawText(), Has.Length.InRange(3000, 10_000));
            bytes += schemas.Get(parameters, budget).TableBytes;
        }

        Assert.That(() => budget.CountWork(CallBudget.MaxWork / 2), Throws.Nothing, "half of the steps is left");
        Assert.That(bytes, Is.LessThan(CallBudget.MaxBytes / 2));
    }

    /// <summary>Each of them is within what one schema may take, and all are held by the call whatever the cache forgets.</summary>
    [Test, CancelAfter(180_000)]
    public void Tables_of_all_tools_together_are_limited(CancellationToken cancellationToken)
    {
        var schemas = new ToolSchemas();
        (string Name, JsonElement Parameters)[] tools = [.. Enumerable.Range(0, 6).Select(i => ($"tool{i}", JsonElement.Parse(ManyTexts(i))))];
        for (int attempt = 0; attempt < 2; attempt++)
        {
            Assert.That(
                () => new ToolCallConstraint(ConstraintReader.Tokenizer, tools, ToolChoice.Auto, schemas: schemas, cancellationToken: cancellationToken),
                Throws.TypeOf<KimiConstraintException>().With.Message.Contains("256 MB of tables together").And.Message.Contains("tool"),
                "alike whether they are known or not");
        }

        Assert.That(() => new ToolCallConstraint(ConstraintReader.Tokenizer, tools, ToolChoice.Named("tool5"), schemas: schemas, cancellationToken: cancellationToken), Throws.Nothing, "it alone may");
        (string, JsonElement)[] same = [.. tools.Select(t => (t.Name, tools[0].Parameters))];
        Assert.That(() => new ToolCallConstraint(ConstraintReader.Tokenizer, same, ToolChoice.Auto, schemas: schemas, cancellationToken: cancellationToken), Throws.Nothing, "equal ones are held once");
        List<string> warnings = [];
        var held = new ToolCallConstraint(ConstraintReader.Tokenizer, [.. tools, ("small", JsonElement.Parse("""{"required":["a"],"properties":{"a":{}}}"""))], ToolChoice.Auto, schemas: schemas, refused: warnings.Add, cancellationToken: cancellationToken);
        Assert.That(warnings.Single(), Does.Contain("256 MB").And.Contain("more behind it"), "one line in each turn of an agent");
        TokenAutomaton small = held.ArgumentsOf("functions.small:0", 0)!;
        Assert.That(small.Read(small.Start, "{}"u8).IsDead, Is.True, "those that fit keep their schemas");
    }

    [Test]
    public void Steps_of_all_tools_together_are_limited()
    {
        var schemas = new ToolSchemas();
        JsonElement schema = JsonElement.Parse(LargeTool(0));
        Assert.That(() => schemas.Get(schema, NearlySpent(10_000)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("4,000,000,000 steps together"));
        Assert.That(() => schemas.Get(schema, new CallBudget(CancellationToken.None)), Throws.Nothing, "it was not the schema's fault");
        Assert.That(() => schemas.Get(schema, NearlySpent(10_000)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("4,000,000,000 steps together"), "alike once it is known");
        List<string> warnings = [];
        CallBudget spent = NearlySpent(10_000);
        Assert.That(schemas.GetOrAny(schema, (why, _) => warnings.Add(why), spent), Is.SameAs(schemas.Get(default, spent)));
        Assert.That(warnings.Single(), Does.Contain("steps together"));
    }

    [Test, CancelAfter(120_000)]
    public void What_a_refused_schema_took_counts_too(CancellationToken cancellationToken)
    {
        var schemas = new ToolSchemas();
        JsonElement explosive = JsonElement.Parse("""{"properties":{"a":{"type":"string","pattern":"^(a|b)*a(a|b){30}$"}}}""");
        for (int attempt = 0; attempt < 2; attempt++)
        {
            var budget = new CallBudget(cancellationToken);
            Assert.That(() => schemas.Get(explosive, budget), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("400,000 states"));
            Assert.That(() => budget.CountWork(CallBudget.MaxWork - 10_000_000), Throws.TypeOf<KimiConstraintException>(), "also where it was known");
        }
    }

    /// <summary>A client that tries again would keep a core busy for seconds each time.</summary>
    [Test]
    public void What_was_refused_is_not_compiled_again()
    {
        var schemas = new ToolSchemas();
        JsonElement odd = JsonElement.Parse("""{"properties":{"a":{"multipleOf":2}}}""");
        string message = Assert.Throws<KimiConstraintException>(() => schemas.Get(odd, new CallBudget(CancellationToken.None)))!.Message;
        var cancelled = new CallBudget(new CancellationToken(canceled: true));
        Assert.That(() => schemas.Get(JsonElement.Parse(LargeTool(0)), cancelled), Throws.InstanceOf<OperationCanceledException>(), "a new one is compiled");
        Assert.That(() => schemas.Get(odd, cancelled), Throws.TypeOf<KimiConstraintException>().With.Message.EqualTo(message));
        List<string> warnings = [];
        _ = schemas.GetOrAny(odd, (why, _) => warnings.Add(why), cancelled);
        _ = schemas.GetOrAny(odd, (why, _) => warnings.Add(why), cancelled);
        Assert.That(warnings, Is.EqualTo(new[] { message }), "told once to who goes on without it");
    }

    /// <summary>The steps of one that is refused leave enough for another one to be refused for itself.</summary>
    [Test]
    public void Two_schemas_that_are_too_large_are_compiled_once()
    {
        var schemas = new ToolSchemas();
        List<string> warnings = [];
        for (int attempt = 0; attempt < 3; attempt++)
        {
            var budget = new CallBudget(new CancellationToken(canceled: attempt > 0), maxWork: 20_000);
            for (int i = 0; i < 2; i++)
            {
                _ = schemas.GetOrAny(JsonElement.Parse(LargeTool(i)), (why, _) => warnings.Add(why), budget);
            }
        }

        Assert.That(warnings, Has.Count.EqualTo(2).And.All.Contains("more than 10,000 steps."));
    }

    /// <summary>Else tools that have nothing to do with it would go on without their schemas.</summary>
    [Test, CancelAfter(60_000)]
    public void Equal_schemas_that_are_refused_count_once(CancellationToken cancellationToken)
    {
        JsonElement large = JsonElement.Parse("""{"properties":{"a":{"type":"string","pattern":"^(a|b)*a(a|b){30}$"}}}""");
        (string, JsonElement)[] tools = [("a", large), ("b", large), ("c", JsonElement.Parse("""{"required":["x"],"properties":{"x":{"type":"null"}}}"""))];
        List<string> warnings = [];
        var constraint = new ToolCallConstraint(ConstraintReader.Tokenizer, tools, ToolChoice.Auto, refused: warnings.Add, budget: new CallBudget(cancellationToken, maxWork: 2_000_000));
        Assert.That(warnings.Single(), Does.Contain("'a'").And.Contain("more than 1,000,000 steps."));
        TokenAutomaton arguments = constraint.ArgumentsOf("functions.c:0", 0)!;
        Assert.That(arguments.Read(arguments.Start, "{}"u8).IsDead, Is.True, "it has its schema");
    }

    [Test, CancelAfter(120_000)]
    public void Steps_of_equal_schemas_whose_tables_do_not_fit_count_once(CancellationToken cancellationToken)
    {
        var budget = new CallBudget(cancellationToken);
        KimiConstraint? last = null;
        long work = 0;
        for (int i = 0; last is null; i++)
        {
            var next = KimiConstraint.ToolArguments(JsonElement.Parse(ManyTexts(i)), new CompileBudget(cancellationToken));
            work += next.Work;
            try
            {
                budget.Count(next);
            }
            catch (KimiConstraintException)
            {
                last = next;
            }
        }

        budget.CountWork(CallBudget.MaxWork - work - (last.Work / 2));
        Assert.That(() => budget.Count(last), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("256 MB of tables together"));
    }

    [Test]
    public void What_no_steps_were_left_for_is_compiled_again_only_where_more_are_left()
    {
        var schemas = new ToolSchemas();
        JsonElement schema = JsonElement.Parse(LargeTool(0));
        var cancelled = new CancellationToken(canceled: true);
        Assert.That(() => schemas.Get(schema, NearlySpent(10_000)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("steps together"));
        Assert.That(() => schemas.Get(schema, NearlySpent(10_000, cancelled)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("steps together"));
        Assert.That(() => schemas.Get(schema, NearlySpent(0, cancelled)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("steps together"));
        Assert.That(() => schemas.Get(schema, NearlySpent(100_000, cancelled)), Throws.InstanceOf<OperationCanceledException>(), "it may do now");
        Assert.That(() => schemas.Get(schema, NearlySpent(100_000)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("steps together"));
        Assert.That(() => schemas.Get(schema, NearlySpent(90_000, cancelled)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("steps together"), "the most that is known counts");
        Assert.That(() => schemas.Get(schema, NearlySpent(50_000_000)), Throws.Nothing);
    }

    /// <summary>It is no more its schema's fault than it was the first one's.</summary>
    [Test]
    public void Of_equal_tools_that_no_steps_were_left_for_the_second_hears_so_too()
    {
        JsonElement schema = JsonElement.Parse(LargeTool(0));
        var schemas = new ToolSchemas();
        CallBudget spent = NearlySpent(10_000);
        string first = Assert.Throws<KimiConstraintException>(() => schemas.Get(schema, spent))!.Message;
        Assert.That(first, Does.Contain("steps together"));
        Assert.That(() => schemas.Get(schema, spent), Throws.TypeOf<KimiConstraintException>().With.Message.EqualTo(first));
        List<string> warnings = [];
        _ = new ToolCallConstraint(ConstraintReader.Tokenizer, [("a", schema), ("b", schema)], ToolChoice.Auto, refused: warnings.Add, budget: NearlySpent(10_000));
        Assert.That(warnings.Single(), Does.Contain("'a' and of 1 more behind it").And.Contain("steps together"));
    }

    /// <summary>A log would have a hundred lines for each turn of an agent.</summary>
    [TestCase(3, "the tool 'tool2' cannot be enforced, so its arguments")]
    [TestCase(6, "the tool 'tool2' and of 3 more behind it cannot be enforced, so their arguments")]
    public void Tools_behind_the_end_of_the_steps_are_told_together(int count, string last)
    {
        (string, JsonElement)[] tools = [.. Enumerable.Range(0, count).Select(i => ($"tool{i}", JsonElement.Parse(LargeTool(i))))];
        List<string> warnings = [];
        _ = new ToolCallConstraint(ConstraintReader.Tokenizer, tools, ToolChoice.Auto, refused: warnings.Add, budget: new CallBudget(CancellationToken.None, maxWork: 20_000));
        Assert.That(warnings, Has.Count.EqualTo(3));
        Assert.That(warnings[..2], Has.All.Contains("more than 10,000 steps."), "each by itself");
        Assert.That(warnings[2], Does.Contain(last).And.Contain("20,000 steps together"));
    }

    private static CallBudget NearlySpent(long left, CancellationToken cancellationToken = default)
    {
        var budget = new CallBudget(cancellationToken);
        budget.CountWork(CallBudget.MaxWork - left);
        return budget;
    }

    private static string LargeTool(int seed)
    {
        string members = string.Join(',', Enumerable.Range(0, 36).Select(i => (i % 6) switch
        {
            0 => $$"""{{'"'}}path{{i}}":{"type":"string","minLength":1,"maxLength":4096,"description":"Where the file number {{i}} of the request is found, as an absolute path."}""",
            1 => $$"""{{'"'}}kind{{i}}":{"enum":["created","changed","removed","renamed","copied{{seed}}"],"description":"What happened to it."}""",
            2 => $$"""{{'"'}}lines{{i}}":{"type":"array","maxItems":100,"items":{"type":"object","required":["from","to"],"properties":{"from":{"type":"integer","minimum":1},"to":{"type":"integer","minimum":1,"maximum":100000} } } }""",
            3 => $$"""{{'"'}}at{{i}}":{"anyOf":[{"type":"string","format":"date-time"},{"type":"null"}],"description":"When that was."}""",
            4 => $$"""{{'"'}}id{{i}}":{"type":"string","pattern":"^[a-z][a-z0-9_-]{0,62}$"}""",
            _ => $$"""{{'"'}}options{{i}}":{"type":"object","properties":{"depth":{"type":"number","minimum":0,"maximum":1.5},"flags":{"type":"array","items":{"type":"string"} } },"additionalProperties":false}""",
        }));
        return $$$"""{"type":"object","title":"tool {{{seed}}}","required":["path0","kind1"],"properties":{{{{members}}}}}""";
    }

    /// <summary>Few steps for the size of the tables.</summary>
    private static string ManyTexts(int seed)
    {
        var random = new Random(seed);
        string texts = string.Join(',', Enumerable.Range(0, 5000).Select(_ => $"\"{random.GetString("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;+-*/()", 36)}\""));
        return $$"""{"properties":{"x":{"enum":[{{texts}}]} } }""";
    }
}
