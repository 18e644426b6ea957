// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Extensions.AI.Requests;

[TestFixture]
internal sealed class FormatReaderTests
{
    [Test]
    public void Compiled_schemas_take_no_more_than_they_may()
    {
        long one = Compile(new FormatReader(), Words(0)).Bytes;
        Assert.That(one, Is.Positive);
        var reader = new FormatReader { MostBytes = (3 * one) + (one / 2) };
        KimiConstraint first = Compile(reader, Words(0));
        for (int i = 1; i < 4; i++)
        {
            Compile(reader, Words(i));
        }

        KimiConstraint third = Compile(reader, Words(3));
        Assert.That(Compile(reader, Words(3)), Is.SameAs(third), "the latest one stays");
        Compile(reader, Words(4));
        Assert.That(Compile(reader, Words(0)), Is.Not.SameAs(first));
    }

    [Test]
    public void A_schema_larger_than_all_may_be_is_still_kept_until_the_next()
    {
        var reader = new FormatReader { MostBytes = 1 };
        Assert.That(Compile(reader, Words(0)).Bytes, Is.GreaterThan(1));
        KimiConstraint latest = Compile(reader, Words(1));
        Assert.That(Compile(reader, Words(1)), Is.SameAs(latest));
    }

    [Test]
    public void What_is_cancelled_is_compiled_by_the_next_and_what_is_refused_is_refused_again()
    {
        var reader = new FormatReader();
        using var gone = new CancellationTokenSource();
        gone.Cancel();
        ChatResponseFormat format = ChatResponseFormat.ForJsonSchema(JsonElement.Parse(Words(0)));
        Assert.That(() => reader.Read(format, new GenerationOptions(), gone.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Compile(reader, Words(0)), Is.Not.Null);
        for (int i = 0; i < 2; i++)
        {
            Assert.That(() => Compile(reader, """{"not":{"type":"string"}}"""), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("not"));
        }
    }

    /// <summary>As where an application asks for many answers of one type at once.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Calls_that_begin_together_compile_their_schema_once_and_on_no_callers_thread(CancellationToken cancellationToken)
    {
        using var go = new ManualResetEventSlim();
        int compiled = 0;
        var reader = new FormatReader
        {
            Compiler = (schema, token) =>
            {
                compiled++;
                go.Wait(token);
                return KimiConstraint.JsonSchema(schema, token);
            },
        };
        ChatResponseFormat format = ChatResponseFormat.ForJsonSchema(JsonElement.Parse(Words(0)));
        Task<GenerationOptions>[] calls = [.. Enumerable.Range(0, 8).Select(_ => reader.ReadAsync(format, new GenerationOptions(), cancellationToken))];
        go.Set();
        GenerationOptions[] read = await Task.WhenAll(calls);
        Assert.That(compiled, Is.EqualTo(1));
        Assert.That(read.Select(r => r.Constraint), Is.All.Not.Null.And.All.SameAs(read[0].Constraint));
    }

    [Test]
    public async Task Any_object_is_compiled_once_for_all_readers_and_on_no_callers_thread()
    {
        int thread = 0, compiled = 0;
        var json = new Lazy<KimiConstraint>(() =>
        {
            thread = Environment.CurrentManagedThreadId;
            compiled++;
            return KimiConstraint.Json();
        });
        var caller = new Thread(() => new FormatReader { Json = json }.ReadAsync(ChatResponseFormat.Json, new GenerationOptions(), default).GetAwaiter().GetResult());
        caller.Start();
        caller.Join();
        Assert.That(thread, Is.Not.Zero.And.Not.EqualTo(caller.ManagedThreadId));
        KimiConstraint? again = (await new FormatReader { Json = json }.ReadAsync(ChatResponseFormat.Json, new GenerationOptions(), default)).Constraint;
        Assert.That((again, compiled), Is.EqualTo((json.Value, 1)));
        Lazy<KimiConstraint> usual = new FormatReader().Json;
        Assert.That(new FormatReader().Json, Is.SameAs(usual));
    }

    /// <summary>A reader that keeps nothing for long forgets a schema at any moment between the look at it and its use.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task A_schema_that_is_forgotten_while_it_is_asked_for_is_compiled_on_no_callers_thread(CancellationToken cancellationToken)
    {
        using var caller = new ThreadLocal<bool>();
        int onCaller = 0;
        var reader = new FormatReader
        {
            MostBytes = 1,
            Compiler = (schema, token) =>
            {
                if (caller.Value)
                {
                    Interlocked.Increment(ref onCaller);
                }

                return KimiConstraint.JsonSchema(schema, token);
            },
        };
        using var done = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task forgetting = Task.Run(() =>
        {
            while (!done.IsCancellationRequested)
            {
                Compile(reader, """{"const":1}""");
                Compile(reader, """{"const":2}""");
            }
        }, cancellationToken);
        ChatResponseFormat format = ChatResponseFormat.ForJsonSchema(JsonElement.Parse("""{"const":0}"""));
        try
        {
            await Task.Factory.StartNew(
                () =>
                {
                    caller.Value = true;
                    for (int i = 0; i < 20_000; i++)
                    {
                        reader.ReadAsync(format, new GenerationOptions(), cancellationToken).GetAwaiter().GetResult();
                    }
                },
                cancellationToken,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default);
        }
        finally
        {
            await done.CancelAsync();
            await forgetting;
        }

        Assert.That(onCaller, Is.Zero);
    }

    private static KimiConstraint Compile(FormatReader reader, string schema) =>
        reader.Read(ChatResponseFormat.ForJsonSchema(JsonElement.Parse(schema)), new GenerationOptions(), CancellationToken.None).Constraint!;

    private static string Words(int seed) =>
        $$"""{"enum":[{{string.Join(',', Enumerable.Range(0, 200).Select(i => $"\"{seed:D4} {(i * 7919) % 1000:D4}\""))}}]}""";
}
