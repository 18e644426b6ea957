// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Cli;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary>Numbers that an option cannot have, and options that do nothing, are refused by name before anything is opened, written or measured.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class OptionRangeTests
{
    [TestCase("logits --tokens 1 --out x --threads 99999", "--threads takes 1 … 1024; found 99999")]
    [TestCase("logits --tokens 1 --out x --threads 0", "--threads takes 1 … 1024; found 0")]
    [TestCase("trace -o x --prompt hi -t 99999", "--threads takes 1 … 1024; found 99999")]
    [TestCase("generate hi -t -4", "--threads takes 1 … 1024; found -4")]
    [TestCase("bench --shape nano --threads 5000", "--threads takes 1 … 1024; found 5000")]
    [TestCase("bench --shape nano --decode -1", "--decode takes 0 or more; found -1")]
    [TestCase("bench --shape nano --expert-memory 1MB --warm-up -1", "--warm-up takes 0 or more; found -1")]
    [TestCase("bench --shape nano --concurrency 2 --entering -1", "--entering takes 0 or more; found -1")]
    [TestCase("bench --shape nano --concurrency 2 --token-gap -1", "--token-gap takes 0 or more; found -1")]
    [TestCase("bench --shape nano --concurrency 2 --decode 0", "--decode takes 1 or more")]
    [TestCase("bench --shape nano --expert-memory 1MB --decode 0", "--decode takes 1 or more")]
    [TestCase("bench --shape nano --chart x.svg", "--chart belongs to --kernels or --concurrency")]
    [TestCase("bench --shape nano --token-gap 5", "--token-gap belongs to --concurrency, which is missing.")]
    [TestCase("bench --shape nano --entering 5", "--entering belongs to --concurrency, which is missing.")]
    [TestCase("bench --shape nano --reads 5", "--reads belongs to --expert-memory, which is missing.")]
    [TestCase("bench --concurrency 4 --expert-memory 20GB", "--expert-memory has no place beside --concurrency, which takes --shape, ")]
    [TestCase("bench --concurrency 4 --timeline x", "--timeline has no place beside --concurrency")]
    [TestCase("bench --concurrency 4 --prefill 128", "--prefill has no place beside --concurrency")]
    [TestCase("bench --concurrency 4 --tune", "--tune has no place beside --concurrency")]
    [TestCase("bench --gpu --model x", "--model has no place beside --gpu, which takes --device and --json.")]
    [TestCase("bench --gpu --threads 8", "--threads has no place beside --gpu")]
    [TestCase("bench --gpu --int8-hot-path", "--int8-hot-path has no place beside --gpu")]
    [TestCase("bench --gpu --decode 64", "--decode has no place beside --gpu")]
    [TestCase("bench --kernels --decode 64", "--decode has no place beside --kernels, which takes --threads, --json and --chart.")]
    [TestCase("bench --expert-memory 1GB --prefill 128", "--prefill has no place beside --expert-memory")]
    [TestCase("bench --expert-memory 1GB --tune", "--tune has no place beside --expert-memory")]
    [TestCase("bench --tune --decode 4", "--decode has no place beside --tune")]
    [TestCase("bench --tune --prefill 4", "--prefill has no place beside --tune")]
    [TestCase("bench --model x --shape nano", "--model measures a checkpoint that there is, --shape one that is made up: give one of them.")]
    [TestCase("trace -o x --prompt hi --locality 0.5", "--locality belongs to --synthetic, which is missing.")]
    [TestCase("trace -o x --prompt hi --layers 3", "--layers belongs to --synthetic, which is missing.")]
    [TestCase("trace -o x --synthetic flat --chunk 9", "--chunk has no place beside --synthetic, which takes --tokens, --seed, --output, ")]
    [TestCase("trace -o x --synthetic flat --threads 1", "--threads has no place beside --synthetic")]
    [TestCase("trace -o x --synthetic flat --temperature 1", "--temperature has no place beside --synthetic")]
    [TestCase("trace -o x --synthetic flat --ignore-eos", "--ignore-eos has no place beside --synthetic")]
    [TestCase("trace -o x --synthetic flat --layers 1024 --experts 65535", "--layers times --experts is at most 4194304; found 1024 times 65535.")]
    [TestCase("trace -o x --prompt hi --chunk 65537", "--chunk takes 1 … 65536; found 65537.")]
    [TestCase("bench --shape nano --prefill x", "--prefill takes counts separated by commas, such as 128,512; found 'x'.")]
    [TestCase("bench --shape nano --concurrency 1,x", "--concurrency takes counts from 1 to 1024 separated by commas, such as 1,2,4,8,16; found 'x'.")]
    [TestCase("bench --shape nano --concurrency 0", "--concurrency takes counts from 1 to 1024")]
    [TestCase("bench --shape nano --expert-memory 2", "--expert-memory takes a size in MB, GB, ")]
    [TestCase("bench --shape nano --expert-memory 1MB --policy mru", "A policy is one of lru, lfu, hybrid, wait")]
    [TestCase("bench --shape nano --expert-memory 1MB --reads 0", "--reads takes 1 … 256; found 0.")]
    [TestCase("bench --shape nano --expert-memory 1MB --prompt 300", "--prompt takes 0 … 256; found 300.")]
    [TestCase("bench --shape nano --expert-memory 1MB --read-size 4", "--read-size takes a size in MB, GB, ")]
    [TestCase("bench --shape nano --expert-memory 1MB --memory-limit 9", "--memory-limit takes a size in MB, GB, ")]
    [TestCase("bench --shape nano --expert-memory 1MB --memory-limit 9MB", "--memory-limit takes 500 MB or more, since the whole process has to fit; found '9MB'.")]
    [TestCase("bench --shape nano --prefill 131073", "--prefill takes at most 131072 with this model, whose context that is; found 131073.")]
    [TestCase("bench --shape nano --prefill 0 --decode 131057", "--decode takes at most 131056 with this model, whose context that is behind a prompt of 16; found 131057.")]
    [TestCase("bench --shape nano --expert-memory 1MB --warm-up 131000 --decode 72 --prompt 1", "--warm-up, --decode and --prompt take at most 131072 together with this model, whose context that is; found 131073 (131000, 72 and 1).")]
    [TestCase("bench --shape nano --concurrency 1 --decode 131041", "--decode 131041: an answer comes to the end of the model's context of 131,072 tokens")]
    [TestCase("bench --shape nano --expert-memory 1MB --skew 11", "--skew takes 0 … 10; found 11.")]
    [TestCase("bench --shape nano --expert-memory 1MB --skew 1 --recall 2.5", "--recall takes 0 … 1; found 2.5.")]
    [TestCase("bench --shape nano --expert-memory 1MB --recall 0.5", "--recall above 0 needs --skew")]
    [TestCase("bench --model x --cache y", "--cache is the folder of checkpoints that are made up, and --model measures one that there is: give one of them.")]
    [TestCase("simulate /does/not/exist --policy lru,mru", "A policy is one of lru, lfu, hybrid, wait")]
    [TestCase("simulate x --policy ,", "--policy takes at least one of what it names, several separated by commas; found ','.")]
    [TestCase("generate hi --context 0", "--context takes a number of tokens, such as 4096, 32K or 128K (K is 1024); found '0'.")]
    [TestCase("chat --context 32M", "--context takes a number of tokens")]
    [TestCase("serve --context -1", "--context takes a number of tokens")]
    [TestCase("bench --shape nano,experts=3,topk=9", "at most 3 here; found 9")]
    public async Task It_is_refused_by_name(string line, string expected)
    {
        using var folder = new TemporaryFolder();
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        string[] arguments = [.. line.Split(' '), .. line.StartsWith("bench --shape", StringComparison.Ordinal) ? new[] { "--cache", folder.Path } : []];
        int code = await KimiCommand.RunAsync(arguments, new CliStreams(Stream.Null, output, error, IsTerminal: false), source);
        Assert.That((code, output.ToString()), Is.EqualTo((KimiCommand.Usage, "")), error.ToString());
        Assert.That(error.ToString(), Does.Contain(expected));
        Assert.That(Directory.EnumerateFileSystemEntries(folder.Path), Is.Empty);
    }

    /// <summary>Of a checkpoint that there is, its configuration says how many that are.</summary>
    [TestCase("--prefill 8193", "--prefill takes at most 8192 with this model, whose context that is; found 8193.")]
    [TestCase("--prefill 8 --decode 2147483647", "--decode takes at most 8176 with this model, whose context that is behind a prompt of 16; found 2147483647.")]
    [TestCase("--expert-memory 1MB --warm-up 8000 --decode 192 --prompt 1", "--warm-up, --decode and --prompt take at most 8192 together with this model, whose context that is; found 8193 (8000, 192 and 1).")]
    [CancelAfter(120_000)]
    public async Task More_tokens_than_the_context_has_are_refused_before_any_is_computed(string options, string expected, CancellationToken cancellationToken)
    {
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var error = new StringWriter();
        int code = await KimiCommand.RunAsync(["bench", "--model", Repository.NanoModel, .. options.Split(' ')], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), source);
        Assert.That((code, error.ToString()), Is.EqualTo((KimiCommand.Usage, expected + Environment.NewLine)));
    }

    /// <summary>Each of them is measured for minutes, and shown at the end.</summary>
    [TestCase("2MB,900TB", "--expert-memory 900000.00 GB does not fit: ")]
    [TestCase("2MB,0.001MB", "--expert-memory 1.0 kB holds no expert: one takes ")]
    [CancelAfter(120_000)]
    public async Task A_size_that_cannot_be_measured_is_refused_before_another_one_is(string sizes, string expected, CancellationToken cancellationToken)
    {
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var error = new StringWriter();
        string[] args = ["bench", "--model", Repository.NanoModel, "--expert-memory", sizes, "--warm-up", "1", "--decode", "1"];
        int code = await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: true), source);
        Assert.That(code, Is.EqualTo(KimiCommand.Usage), error.ToString());
        Assert.That(error.ToString(), Does.Contain(expected).And.Not.Contain("size 1 of"));
    }

    [Test]
    [CancelAfter(60_000)]
    public void What_is_known_of_a_synthetic_checkpoint_s_context_is_what_its_configuration_says(CancellationToken cancellationToken)
    {
        using var folder = new TemporaryFolder();
        string checkpoint = SyntheticCheckpoint.Prepare(BenchShape.Parse("nano,layers=1,vocab=512"), folder.Path, new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false), cancellationToken);
        using JsonDocument config = JsonDocument.Parse(File.ReadAllText(Path.Combine(checkpoint, "config.json")));
        Assert.That(config.RootElement.GetProperty("max_position_embeddings").GetInt32(), Is.EqualTo(BenchShape.Context));
    }

    private sealed class TemporaryFolder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("kimicpu").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
