// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;
using KimiCpu.Checkpoints;
using KimiCpu.Sessions;

namespace KimiCpu.Tests.Sessions;

/// <summary>Which models are the same to a session's file.</summary>
[TestFixture]
internal sealed class ModelIdentityTests
{
    /// <summary>What no cached value depends on: names, where texts end, and what only comes behind the last layer. How long they may be is the model's that loads a file.</summary>
    private static readonly string[] s_free =
    [
        nameof(KimiConfig.Architecture), nameof(KimiConfig.ModelType), nameof(KimiConfig.MaxPositions), nameof(KimiConfig.TieEmbeddings), nameof(KimiConfig.EosTokenIds), nameof(KimiConfig.QuantizationMethod),
    ];

    private static IEnumerable<PropertyInfo> Numbers => Settable(typeof(KimiConfig)).Where(p => p.Name != nameof(KimiConfig.RopeScaling));

    private static IEnumerable<PropertyInfo> YarnNumbers => Settable(typeof(YarnConfig));

    /// <summary>Whoever adds a number decides here whether it makes another model. It does where cached values depend on it: they would be used without a word.</summary>
    [TestCaseSource(nameof(Numbers))]
    public void Every_number_of_the_configuration_makes_another_model_unless_cached_values_are_free_of_it(PropertyInfo number)
    {
        KimiConfig config = Config();
        KimiConfig other = config with { };
        Change(number, other);
        Assert.That(ModelIdentity.Numbers(other), s_free.Contains(number.Name) ? Is.EqualTo(ModelIdentity.Numbers(config)) : Is.Not.EqualTo(ModelIdentity.Numbers(config)));
    }

    [TestCaseSource(nameof(YarnNumbers))]
    public void Every_number_of_the_rotation_makes_another_model(PropertyInfo number)
    {
        KimiConfig config = Config();
        YarnConfig yarn = config.RopeScaling! with { };
        Change(number, yarn);
        Assert.That(ModelIdentity.Numbers(config with { RopeScaling = yarn }), Is.Not.EqualTo(ModelIdentity.Numbers(config)));
        Assert.That(ModelIdentity.Numbers(config with { RopeScaling = null }), Is.Not.EqualTo(ModelIdentity.Numbers(config)));
    }

    /// <summary>Of few experts each is looked at.</summary>
    [Test]
    public void A_byte_of_a_routed_expert_makes_another_model()
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            foreach (string file in Directory.GetFiles(Repository.Checkpoint("tiny-int4")))
            {
                File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
            }

            UInt128 before = Of(folder);
            TensorEntry tensor;
            using (Checkpoint checkpoint = Checkpoint.Open(folder))
            {
                Assert.That(checkpoint.Tensors.Values.Count(t => t.IsRoutedExpert), Is.InRange(1, 511));
                tensor = checkpoint.Tensors["model.layers.1.mlp.experts.3.down_proj.weight_packed"];
            }

            string shard = Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal).ElementAt(tensor.Shard);
            byte[] bytes = File.ReadAllBytes(shard);
            bytes[tensor.Offset + (tensor.Length / 2)] ^= 1;
            File.WriteAllBytes(shard, bytes);
            Assert.That(Of(folder), Is.Not.EqualTo(before));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static UInt128 Of(string folder)
    {
        using Checkpoint checkpoint = Checkpoint.Open(folder);
        return ModelIdentity.Of(checkpoint);
    }

    private static KimiConfig Config()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        return checkpoint.Config;
    }

    private static IEnumerable<PropertyInfo> Settable(Type type) => type.GetProperties().Where(p => p.CanWrite);

    private static void Change(PropertyInfo number, object config) => number.SetValue(config, number.GetValue(config) switch
    {
        int n => n + 1,
        double n => n * 1.000001,
        bool b => !b,
        string s => s + "2",
        IReadOnlyList<int> ids => (int[])[.. ids, 7],
        object value => throw new AssertionException($"{number.Name} has a new type: {value}"),
        null => throw new AssertionException($"{number.Name} is null"),
    });
}
