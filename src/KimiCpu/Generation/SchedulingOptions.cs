// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>How calls share a model: limits of their number and time, and how steadily answers move.</summary>
public sealed record SchedulingOptions
{
    /// <summary>
    /// Most calls that run at once; the others wait. At least 1, default 32. No more than a step has room for, 64 on a GPU (<see cref="KimiModelOptions.Device"/>): the log has a warning where
    /// more are asked for.
    /// </summary>
    public int MaxRunning { get; init; } = 32;

    /// <summary>
    /// Most calls that wait while <see cref="MaxRunning"/> run. Where there are as many, further ones fail at once with a
    /// <see cref="KimiBusyException"/>. A call that was cancelled counts until the running step ends. At least 0, default 1024.
    /// </summary>
    public int MaxWaiting { get; init; } = 1024;

    /// <summary>
    /// How long a call waits at most before it begins; then it fails with a <see cref="KimiBusyException"/>. Looked at between steps, and a call for which there is room then
    /// begins however long the step before has taken. One that waits for a running call to compute what both begin with, though there is room for it, may do so. Above zero; null, the default, for no limit.
    /// Neither this nor <see cref="MaxCallTime"/> ends what <see cref="KimiSession.Save(string, IProgress{double}?, CancellationToken)"/> computes.
    /// </summary>
    public TimeSpan? MaxQueueTime { get; init; }

    /// <summary>
    /// How long a call takes at most, waiting included; then it fails with a <see cref="TimeoutException"/>, and a stream has
    /// what was generated until then; its session keeps what it had before. Looked at between steps. Above zero; null, the default, for no limit.
    /// </summary>
    public TimeSpan? MaxCallTime { get; init; }

    /// <summary>
    /// The time between two tokens of a running answer that is aimed at while prompts enter: they enter in parts of so
    /// many tokens as a step of this length takes in, at least 16 (or <see cref="KimiModelOptions.PrefillChunk"/>, where
    /// that is less). Shorter means steadier answers and slower prompts. Above zero, or
    /// <see cref="Timeout.InfiniteTimeSpan"/> for no aim. Null, the default, for half a second, or up to four where the model is so sparse that steps
    /// of half a second would read most of their experts for a few tokens: parts are of four times experts / experts per token then, 192 tokens with Kimi K2. No aim where experts
    /// are read from drives. Never changes an answer, but for last bits on a GPU (<see cref="KimiModelOptions.Device"/>) and where <see cref="KimiModelOptions.PrefillChunk"/> allows 512 tokens and more.
    /// </summary>
    public TimeSpan? MaxTokenGap { get; init; }

    /// <summary>See <see cref="PromptPace"/>; nothing where <see cref="MaxTokenGap"/> was set.</summary>
    internal int SparsePart { get; private init; }

    /// <summary>
    /// What a model can keep of them: the logits of a step are one array, and where experts come from drives a step of few prompt tokens takes nearly as long as one of many.
    /// Where they are in memory, a step of few tokens takes long for as many as it takes to meet most experts; with four choices for each expert 98 in 100 are met, and each token more is cheap.
    /// </summary>
    /// <param name="decodeRows">Tokens of running answers that fit into a step beside a prompt's.</param>
    /// <param name="vocabulary">Logits of a token.</param>
    /// <param name="readsDrives">Whether experts come from drives.</param>
    /// <param name="experts">Of a layer; 0 where there are none.</param>
    /// <param name="expertsPerToken">That a token uses of them.</param>
    internal SchedulingOptions For(int decodeRows, int vocabulary, bool readsDrives, int experts, int expertsPerToken) => this with
    {
        MaxRunning = Math.Min(MaxRunning, Math.Clamp(decodeRows, 1, Array.MaxLength / vocabulary)),
        MaxTokenGap = MaxTokenGap ?? (readsDrives ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(0.5)),
        SparsePart = MaxTokenGap is null && experts > 0 ? 4 * experts / expertsPerToken : 0,
    };

    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    internal void Validate()
    {
        OptionRange.Require(MaxRunning >= 1, nameof(MaxRunning), MaxRunning, "1 or more");
        OptionRange.Require(MaxWaiting >= 0, nameof(MaxWaiting), MaxWaiting, "0 or more");
        OptionRange.Require(MaxQueueTime is null || MaxQueueTime > TimeSpan.Zero, nameof(MaxQueueTime), MaxQueueTime, "a time above zero, or null");
        OptionRange.Require(MaxCallTime is null || MaxCallTime > TimeSpan.Zero, nameof(MaxCallTime), MaxCallTime, "a time above zero, or null");
        OptionRange.Require(MaxTokenGap is null || MaxTokenGap > TimeSpan.Zero || MaxTokenGap == Timeout.InfiniteTimeSpan, nameof(MaxTokenGap), MaxTokenGap, "a time above zero, Timeout.InfiniteTimeSpan, or null");
    }
}
