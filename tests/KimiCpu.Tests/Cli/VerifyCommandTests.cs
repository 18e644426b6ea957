// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Checkpoints;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary>A checkpoint is a download of hundreds of gigabytes: nobody should fetch again what only could not be read.</summary>
[TestFixture]
[Platform(Exclude = "Win", Reason = "Links need a privilege there.")]
internal sealed class VerifyCommandTests
{
    private const string First = "model-00001-of-00003.safetensors";
    private const string Second = "model-00002-of-00003.safetensors";

    private string _folder = "";

    [SetUp]
    public void CopyCheckpoint()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        foreach (string file in Directory.GetFiles(Repository.Checkpoint("tiny-bf16")))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)));
        }
    }

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task What_cannot_be_read_is_not_to_be_fetched_again([Values(First, "config.json", "tiktoken.model")] string file)
    {
        // Links in a circle are refused by the system even to who may read everything.
        LinkTo(file, file);
        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith($"{file}: The file cannot be read: ").And.Contain("Check the drive and the permissions.").And.Not.Contain("etch again:"));
        using var json = JsonDocument.Parse((await Run("verify", _folder, "--json")).Output);
        JsonElement problem = json.RootElement.GetProperty("problems").EnumerateArray().Single();
        Assert.That((problem.GetProperty("file").GetString(), problem.GetProperty("unreadable").GetBoolean()), Is.EqualTo((file, true)));
        Assert.That(json.RootElement.GetProperty("fetch_again").GetArrayLength(), Is.Zero);
    }

    /// <summary>Those headers are of hundreds of gigabytes.</summary>
    [Test]
    public async Task A_folder_without_checksums_is_told_before_it_is_looked_through()
    {
        var error = new StringWriter();
        using var source = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(["verify", _folder, "--checksums"], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: true), source);
        Assert.That(code, Is.EqualTo(KimiCommand.Usage));
        Assert.That(error.ToString(), Does.StartWith($"'{_folder}' holds no kimi-repack.json").And.Contain("`hf download`").And.Not.Contain("Verifying"));
        Assert.That((await Run("verify", Path.Combine(_folder, "none"), "--checksums")).Code, Is.EqualTo(KimiCommand.Failed));
    }

    /// <summary>As where a hub's cache has lost a file.</summary>
    [Test]
    public async Task Links_that_lead_nowhere_are_files_to_fetch_again()
    {
        LinkTo(First, "nowhere");
        LinkTo(Second, Second);
        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.EndWith($"Fetch: {First}{Environment.NewLine}"));
    }

    /// <summary>Downloaders take a file that is there for whole, so that fetching it again would do nothing.</summary>
    [Test]
    public async Task Damaged_files_are_to_be_deleted_before_they_are_fetched_again_and_missing_ones_fetched()
    {
        File.Delete(Path.Combine(_folder, First));
        using (FileStream stream = File.OpenWrite(Path.Combine(_folder, Second)))
        {
            stream.SetLength(stream.Length - 1);
        }

        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output.ReplaceLineEndings("\n"), Does.EndWith($"\n\nDelete and fetch again: {Second}\nFetch: {First}\n"));
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains($"{First}': The index lists this shard, but the file is missing. Fetch this file; `kimi verify` lists"));
        File.Copy(Path.Combine(Repository.Checkpoint("tiny-bf16"), First), Path.Combine(_folder, First));
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains($"{Second}").And.Message.Contains("Delete this file and fetch it again; `kimi verify` lists"));
    }

    /// <summary>The folder below "snapshots" in a hub's cache, mounted or copied alone: the files are whole where they are, and nothing says so but the links.</summary>
    [Test]
    public async Task Links_whose_folder_is_not_there_are_no_files_to_fetch_again([Values] bool all)
    {
        foreach (string file in all ? Directory.GetFiles(_folder).Select(f => Path.GetFileName(f)).ToArray() : [First, Second])
        {
            LinkTo(file, $"../../blobs/of-{file}");
        }

        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        string first = all ? "config.json" : First;
        Assert.That(output, Does.StartWith($"{first}: It is a link to '../../blobs/of-{first}', and the folder of that is not there. Mount or copy what the links lead to, too").And.Contain("`cp -rL`").And.Not.Contain("etch again:"));
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("It is a link to '../../blobs/of-").And.Message.Not.Contains("etch this file").And.Message.Not.Contains("Delete this file"));
    }

    /// <summary>That of the blobs is found from where the link really is.</summary>
    [Test]
    public async Task A_blob_that_a_cache_has_lost_is_to_be_fetched_again_through_a_link_to_the_folder_too()
    {
        string cache = Path.Combine(_folder, "cache");
        string link = Path.Combine(_folder, "K2");
        string snapshot = Directory.CreateDirectory(Path.Combine(cache, "snapshots", "abc")).FullName;
        Directory.CreateDirectory(Path.Combine(cache, "blobs"));
        foreach (string file in Directory.GetFiles(_folder).Select(f => Path.GetFileName(f)))
        {
            File.Move(Path.Combine(_folder, file), Path.Combine(cache, "blobs", file));
            File.CreateSymbolicLink(Path.Combine(snapshot, file), $"../../blobs/{file}");
        }

        Directory.CreateSymbolicLink(link, snapshot);
        Assert.That((await Run("verify", link)).Code, Is.EqualTo(KimiCommand.Ok));
        File.Delete(Path.Combine(cache, "blobs", First));
        Assert.That((await Run("verify", link)).Output, Does.EndWith($"Fetch: {First}{Environment.NewLine}"));
    }

    [Test]
    public async Task A_configuration_of_generation_that_is_damaged_is_named_once([Values("{", """{"eos_token_id":99999}""")] string content)
    {
        File.WriteAllText(Path.Combine(_folder, "generation_config.json"), content);
        (int code, string output) = await Run("verify", _folder, "--json");
        using var json = JsonDocument.Parse(output);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(json.RootElement.GetProperty("problems").EnumerateArray().Select(p => p.GetProperty("file").GetString()), Is.EqualTo(new[] { "generation_config.json" }));
    }

    /// <summary>Each file is whole, and the model would not open.</summary>
    [Test]
    public async Task A_tokenizer_with_more_ids_than_the_model_is_named()
    {
        string ranks = Path.Combine(_folder, "tiktoken.model");
        int count = File.ReadAllLines(ranks).Count(l => l.Length > 0);
        File.AppendAllText(ranks, $"{(File.ReadAllText(ranks).EndsWith('\n') ? "" : "\n")}{Convert.ToBase64String("ab"u8)} {count}\n");
        string path = Path.Combine(_folder, "tokenizer_config.json");
        JsonObject config = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        config["added_tokens_decoder"] = new JsonObject(config["added_tokens_decoder"]!.AsObject().Select(p => KeyValuePair.Create($"{int.Parse(p.Key, CultureInfo.InvariantCulture) + 1}", p.Value?.DeepClone())));
        File.WriteAllText(path, config.ToJsonString());
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("tiktoken.model"));
        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith($"tiktoken.model: The tokenizer has {count + 257} ids").And.Contain("do not belong together").And.Not.Contain("etch again:"));
    }

    /// <summary>Opening takes an hour, and no chat would be answered.</summary>
    [Test]
    public async Task A_template_that_cannot_be_used_is_named_and_opens_no_model([Values("chat_template.jinja", "tokenization_kimi.py")] string file, [Values] bool isPointer)
    {
        File.WriteAllText(Path.Combine(_folder, "chat_template.jinja"), "<|im_user|>");
        File.WriteAllText(Path.Combine(_folder, file), isPointer ? "version https://git-lfs.github.com/spec/v1\n" : new string('x', 200_000));
        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.StartWith($"{file}: Expected "));
        Assert.That(output, isPointer ? Does.Contain("git lfs pull").And.Not.Contain("etch again:") : Does.EndWith($"Delete and fetch again: {file}{Environment.NewLine}"));
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains(file));
    }

    /// <summary>Base models have none, and a download of the safetensors and JSON files alone brings none.</summary>
    [Test]
    public async Task A_folder_without_a_template_is_whole_and_told_of()
    {
        (int code, string output) = await Run("verify", _folder);
        Assert.That(code, Is.EqualTo(KimiCommand.Ok));
        Assert.That(output, Does.StartWith("Whole: ").And.Contain("Note: ").And.Contain("chat_template.jinja does not exist").And.Contain("Fetch it, if"));
        using var json = JsonDocument.Parse((await Run("verify", _folder, "--json")).Output);
        Assert.That(json.RootElement.GetProperty("whole").GetBoolean());
        Assert.That(json.RootElement.GetProperty("note").GetString(), Does.Contain("chat_template.jinja does not exist"));
        (_, output) = await Run("verify", Repository.NanoModel);
        Assert.That(output, Does.Not.Contain("Note"));
    }

    private void LinkTo(string file, string target)
    {
        string path = Path.Combine(_folder, file);
        File.Delete(path);
        File.CreateSymbolicLink(path, target);
    }

    private static async Task<(int Code, string Output)> Run(params string[] args)
    {
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        int code = await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, output, TextWriter.Null, IsTerminal: false), source);
        return (code, output.ToString());
    }
}
