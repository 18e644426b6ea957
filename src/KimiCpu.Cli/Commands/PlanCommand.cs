// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Cli.Plan;
using KimiCpu.Cli.Terminal;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi plan</c>.</summary>
internal static class PlanCommand
{
    public static Command Make(CliStreams streams)
    {
        var subject = new Argument<string>("DIR|MODEL-NAME")
        {
            Description = $"Checkpoint folder, or a model by name: {string.Join(", ", KnownModels.Names)}. Default: {KnownModels.Default}.",
            DefaultValueFactory = _ => KnownModels.Default,
        };
        var options = new PlanOptions();
        var json = new Option<bool>("--json") { Description = "JSON instead of text." };
        var chart = new Option<string?>("--chart") { Description = "Also draw what lives where, and tokens/s over memory size, as SVG.", HelpName = "FILE" };
        var command = new Command(
            "plan",
            "Says before anything is downloaded or loaded what would live where, how fast it would be, what decides that, and which upgrade would help most. "
            + "Measures this machine, or takes another one from the options; reads headers and some seconds of the files' data, writes nothing. Exit code 1 where the model does not fit.")
        {
            subject,
        };
        options.AddTo(command);
        command.Add(chart);
        command.Add(json);
        command.SetLongAction((parsed, cancellationToken) =>
        {
            MachineSketch sketch = options.Machine(parsed);
            RunningCost? cost = options.Cost(parsed);
            int? asked = options.ContextLength(parsed);
            if (parsed.GetValue(chart) is { } place)
            {
                OutputFile.CheckPlace(chart.Name, place);
            }

            PlanSubject model = PlanSubject.Open(parsed.GetValue(subject)!);
            PlanMachine machine;
            using (var progress = new ProgressLine(streams, "Measuring"))
            {
                int step = 0;
                machine = MachineProbe.Complete(sketch, model, what => progress.Report(what, ++step, step), cancellationToken);
            }

            var plan = new MachinePlan(model, machine, asked ?? MachinePlan.DefaultContext, parsed.GetValue(options.Int8HotPath));
            if (asked > plan.ContextLength)
            {
                streams.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"--context is {asked:N0}, but the model has {plan.ContextLength:N0} positions: the context has those."));
            }

            if (parsed.GetValue(chart) is { } file)
            {
                OutputFile.WriteText(chart.Name, file, PlanChart.Draw(plan));
            }

            if (parsed.GetValue(json))
            {
                streams.Output.WriteLine(PlanJson.Write(plan, asked, cost));
            }
            else
            {
                new PlanReport(streams, plan).Write(cost);
            }

            return plan.Fits ? KimiCommand.Ok : KimiCommand.Failed;
        });
        return command;
    }
}
