// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;

namespace KimiCpu.Tests.Extensions.AI;

/// <summary>A model of which a test takes members over; the others are those of another model.</summary>
internal class StandInModel : DispatchProxy
{
    private IKimiModel _model = null!;
    private Func<MethodInfo, object?[], object?> _instead = null!;

    /// <param name="model">Answers what the test does not.</param>
    /// <param name="instead">The test's own result of a member; null to have the model's.</param>
    public static IKimiModel Of(IKimiModel model, Func<MethodInfo, object?> instead) => Of(model, (member, _) => instead(member));

    /// <param name="model">Answers what the test does not.</param>
    /// <param name="instead">The test's own result of a member with these arguments; null to have the model's.</param>
    public static IKimiModel Of(IKimiModel model, Func<MethodInfo, object?[], object?> instead)
    {
        IKimiModel made = Create<IKimiModel, StandInModel>();
        (((StandInModel)made)._model, ((StandInModel)made)._instead) = (model, instead);
        return made;
    }

    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) =>
        _instead(targetMethod!, args ?? []) ?? targetMethod!.Invoke(_model, BindingFlags.DoNotWrapExceptions, binder: null, args, culture: null);
}
