// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// Says which expert gives way when a slot is needed. Experts are named by keys: layer x experts per layer + expert. Between
/// uses of two experts of one layer the order of their priorities must not change, however much time passes; that of
/// experts of different layers may.
/// </summary>
internal interface IEvictionPolicy
{
    /// <summary>As it is given on the command line.</summary>
    string Name { get; }

    /// <summary>A forward pass begins: time moves on by one.</summary>
    void BeginStep();

    /// <summary>A layer of the running step begins.</summary>
    void BeginLayer(int layer);

    /// <summary>A step needs an expert, whether it is there or not: the one that runs, or, told before the next one begins, the one that is over.</summary>
    void Use(int key);

    /// <summary>The lowest gives way first.</summary>
    double Priority(int key);
}
