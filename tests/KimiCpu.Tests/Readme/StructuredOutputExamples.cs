// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;
using KimiCpu.Constraints;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of docs/structured-output.md, compiled and run.</summary>
internal static class StructuredOutputExamples
{
    public static string Weather(IKimiModel model)
    {
        KimiConstraint weather = KimiConstraint.JsonSchema(
            """{"type":"object","required":["city"],"properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":7}}}""");
        GenerationResult result = model.Generate("The weather in Paris for three days, please.", new GenerationOptions { Constraint = weather });
        // result.Text is {"city": "Paris", "days": 3} or another object that is valid
        return result.Text;
    }
}
