// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Constraints;

/// <summary>
/// Which tool calls an answer may hold: <c>&lt;|tool_calls_section_begin|&gt;</c>, per call <c>&lt;|tool_call_begin|&gt;functions.NAME:INDEX</c>
/// <c>&lt;|tool_call_argument_begin|&gt;ARGUMENTS&lt;|tool_call_end|&gt;</c>, then <c>&lt;|tool_calls_section_end|&gt;</c>. Immutable but for what
/// it has compiled already; safe to use from several threads.
/// </summary>
internal sealed class ToolCallConstraint
{
    private readonly KimiTokenizer _tokenizer;
    private readonly Dictionary<string, TokenAutomaton?> _arguments = new(StringComparer.Ordinal);
    private readonly int _firstIndex;
    private readonly bool _freeIds;
    private readonly CallIds? _ids;
    private readonly TokenAutomaton? _firstIds;

    /// <param name="tokenizer">Of the model.</param>
    /// <param name="tools">Names of the declared tools with the JSON Schema of their parameters; an undefined element takes any object.</param>
    /// <param name="choice">Whether tools are called.</param>
    /// <param name="firstIndex">Index of the next call of the conversation, from 0.</param>
    /// <param name="constrainArguments">Whether arguments are held to the schemas; else they are any text, and with <see cref="ToolChoice.Auto"/> ids are, too.</param>
    /// <param name="schemas">Keeps what was compiled; null to compile anew.</param>
    /// <param name="refused">Told of each tool whose schema cannot be a constraint, which then takes any object; null to fail instead.</param>
    /// <param name="budget">What the schemas may cost; null for what those of a call usually may.</param>
    /// <param name="cancellationToken">Ends the compilation.</param>
    /// <exception cref="KimiConstraintException">A schema cannot be a constraint, all of them together are too large, or the tokenizer has no tokens for tool calls.</exception>
    /// <exception cref="ArgumentException">A call is demanded of a tool that is not declared.</exception>
    public ToolCallConstraint(
        KimiTokenizer tokenizer,
        IReadOnlyList<(string Name, JsonElement Parameters)> tools,
        ToolChoice choice,
        int firstIndex = 0,
        bool constrainArguments = true,
        ToolSchemas? schemas = null,
        Action<string>? refused = null,
        CallBudget? budget = null,
        CancellationToken cancellationToken = default)
    {
        (_tokenizer, _firstIndex, Choice) = (tokenizer, firstIndex, choice.Kind);
        SectionBegin = Marker("<|tool_calls_section_begin|>");
        SectionEnd = Marker("<|tool_calls_section_end|>");
        CallBegin = Marker("<|tool_call_begin|>");
        ArgumentsBegin = Marker("<|tool_call_argument_begin|>");
        CallEnd = Marker("<|tool_call_end|>");
        bool named = choice.Kind == ToolChoiceKind.Named;
        if ((named && !tools.Any(t => t.Name == choice.Name)) || (choice.Kind == ToolChoiceKind.Required && tools.Count == 0))
        {
            throw CallArgument.Options(named ? $"A call of the tool '{Excerpt.Of(choice.Name!)}' is demanded, which is not declared." : "A tool call is demanded, but no tool is declared.");
        }

        schemas ??= new ToolSchemas();
        budget ??= new CallBudget(cancellationToken);
        ToolWarnings? warnings = refused is null ? null : new ToolWarnings(refused);
        foreach ((string name, JsonElement parameters) in choice.Kind == ToolChoiceKind.None ? [] : tools.Where(t => !named || t.Name == choice.Name))
        {
            if (!_arguments.TryAdd(name, constrainArguments ? Compile(name, parameters, schemas, warnings, budget) : null))
            {
                throw CallArgument.Options($"Two tools are called '{Excerpt.Of(name)}'.");
            }
        }

        warnings?.End();
        _freeIds = choice.Kind == ToolChoiceKind.Auto && !constrainArguments;
        _ids = _freeIds || _arguments.Count == 0 ? null : new CallIds(_arguments.Keys);
        _firstIds = _ids is null ? null : MakeIds(0);
    }

    public ToolChoiceKind Choice { get; }

    public int SectionBegin { get; }

    public int SectionEnd { get; }

    public int CallBegin { get; }

    public int ArgumentsBegin { get; }

    public int CallEnd { get; }

    /// <summary>Whether the answer has to call a tool.</summary>
    public bool IsDemanded => Choice is ToolChoiceKind.Required or ToolChoiceKind.Named;

    /// <summary>Whether a section may begin.</summary>
    public bool MayCall => _arguments.Count > 0;

    /// <summary>Whether another call may follow one.</summary>
    public bool MayCallAgain => Choice != ToolChoiceKind.Named;

    /// <summary>Ids that a call may have: <c>functions.NAME:INDEX</c>; null for any text.</summary>
    /// <param name="calls">Calls of this answer so far.</param>
    public TokenAutomaton? Ids(int calls) => _freeIds ? null : calls == 0 ? _firstIds : MakeIds(calls);

    /// <summary>What the arguments of a call may be; null for any text.</summary>
    /// <param name="id">As <see cref="Ids"/> allows.</param>
    /// <param name="calls">Calls of this answer before it.</param>
    public TokenAutomaton? ArgumentsOf(string id, int calls) => _freeIds ? null : _arguments.Single(a => CallIds.Of(a.Key, _firstIndex + calls) == id).Value;

    private TokenAutomaton MakeIds(int calls) => new(_ids!.With(_firstIndex + calls), _tokenizer);

    private TokenAutomaton Compile(string name, JsonElement parameters, ToolSchemas schemas, ToolWarnings? warnings, CallBudget budget)
    {
        if (warnings is not null)
        {
            return schemas.GetOrAny(parameters, (why, isTooMuch) => warnings.Tell(name, why, isTooMuch), budget).For(_tokenizer);
        }

        try
        {
            return schemas.Get(parameters, budget).For(_tokenizer);
        }
        catch (KimiConstraintException e)
        {
            throw new KimiConstraintException($"The parameters of the tool '{Excerpt.Of(name)}' cannot be enforced. {e.Message} GenerationOptions.AllowUnenforceableTools = true takes any JSON object for tools that cannot be enforced, and ConstrainToolArguments = false generates arguments without a constraint.", e);
        }
    }

    private int Marker(string name) => _tokenizer.TryGetSpecialToken(name, out int id)
        ? id
        : throw new KimiConstraintException($"The tokenizer has no control token '{name}', so this checkpoint cannot call tools.");
}
